"""Settings: JOBS_* with their defaults and bounds, and what is refused by hand."""

from __future__ import annotations

import pytest

from runledger.config import Config, ConfigError

DEFAULTS = {
    "poll_interval_ms": 1000,
    "claim_batch_size": 16,
    "lease_ttl_seconds": 60,
    "max_global_concurrency": 32,
    "reaper_interval_seconds": 15,
    "reaper_retry_delay_ms": 30000,
    "schedule_poll_interval_seconds": 30,
    "shutdown_grace_seconds": 30,
}
LOWEST = {
    "poll_interval_ms": 1,
    "claim_batch_size": 1,
    "lease_ttl_seconds": 10,
    "max_global_concurrency": 1,
    "reaper_interval_seconds": 1,
    "reaper_retry_delay_ms": 1000,
    "schedule_poll_interval_seconds": 1,
    "shutdown_grace_seconds": 0,
}


@pytest.mark.parametrize(("field", "value"), DEFAULTS.items())
def test_defaults(field, value):
    assert getattr(Config.from_env({}), field) == value


@pytest.mark.parametrize("field", DEFAULTS)
@pytest.mark.parametrize("garbage", ["", "  ", "many", "1e", "nan", "inf", "0x10", "1,5"])
def test_garbage_counts_as_not_given(field, garbage):
    assert getattr(Config.from_env({f"JOBS_{field.upper()}": garbage}), field) == DEFAULTS[field]


@pytest.mark.parametrize(("field", "lowest"), LOWEST.items())
@pytest.mark.parametrize("value", ["0", "-5"])
def test_too_little_is_drawn_up(field, lowest, value):
    assert getattr(Config.from_env({f"JOBS_{field.upper()}": value}), field) == lowest


def test_too_much_is_drawn_down():
    config = Config.from_env({"JOBS_CLAIM_BATCH_SIZE": "5000", "JOBS_LEASE_TTL_SECONDS": "1000000"})
    assert (config.claim_batch_size, config.lease_ttl_seconds) == (1000, 86400)


def test_a_sensible_value_is_taken_and_a_flag_wins():
    environ = {"JOBS_CLAIM_BATCH_SIZE": " 50 ", "JOBS_LEASE_TTL_SECONDS": "20"}
    config = Config.from_env(environ, lease_ttl_seconds=40, claim_batch_size=None)
    assert (config.claim_batch_size, config.lease_ttl_seconds) == (50, 40)


def test_worker_id():
    assert Config.from_env({"JOBS_WORKER_ID": "web-1"}).worker_id == "web-1"
    blank = [Config.from_env({"JOBS_WORKER_ID": text}).worker_id for text in ("", "   ", "x" * 300)]
    assert all(name.startswith("worker-") for name in blank)
    assert len(set(blank)) == 3


def test_a_connection_string_is_taken_as_it_is_and_not_shown():
    config = Config.from_env({"JOBS_LISTEN_DSN": "host=db password=hunter2"})
    assert config.listen_dsn == "host=db password=hunter2"
    assert "hunter2" not in repr(config)
    assert Config.from_env({}).listen_dsn == ""
    with pytest.raises(ConfigError, match="listen_dsn"):
        Config(listen_dsn=5)


@pytest.mark.parametrize("field", DEFAULTS)
@pytest.mark.parametrize("value", [-1, "5", None, True, float("nan"), 10**12])
def test_by_hand_an_impossible_value_is_refused_by_name(field, value):
    if value == 10**12 and field not in ("claim_batch_size", "lease_ttl_seconds"):
        assert getattr(Config(**{field: value}), field) == value
        return
    with pytest.raises(ConfigError, match=field) as caught:
        Config(**{field: value})
    assert caught.value.field == field


@pytest.mark.parametrize("field", [f for f in DEFAULTS if f != "shutdown_grace_seconds"])
def test_by_hand_zero_is_refused(field):
    with pytest.raises(ConfigError, match=field):
        Config(**{field: 0})


@pytest.mark.parametrize("worker_id", ["", "  ", None, "x" * 201])
def test_by_hand_a_blank_worker_id_is_refused(worker_id):
    with pytest.raises(ConfigError, match="worker_id"):
        Config(worker_id=worker_id)


def test_by_hand_a_lease_may_be_short():
    assert Config(lease_ttl_seconds=1).lease_ttl_seconds == 1
