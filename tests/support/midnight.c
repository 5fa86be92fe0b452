/* The clock of a process that is started with this preloaded: ahead by what stands in a file, and steady otherwise.
   libfaketime bends what waits for monotonic instants, too: a Python that sleeps under it sleeps for days. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile long long *ahead; /* nanoseconds */
static int (*true_clock)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void)
{
  const char *path = getenv("RUNLEDGER_CLOCK");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  void *page = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);

  if (file >= 0)
    close(file);
  if (page != MAP_FAILED)
    ahead = page;
  true_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
  if (!true_clock)
    begin();
  int answer = true_clock(clock, now);

  if (answer == 0 && ahead && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    long long nanoseconds = now->tv_nsec + *ahead % 1000000000;
    long long carry = nanoseconds < 0 ? -1 : nanoseconds / 1000000000;

    now->tv_sec += *ahead / 1000000000 + carry;
    now->tv_nsec = nanoseconds - carry * 1000000000;
  }
  return answer;
}

int gettimeofday(struct timeval *now, void *zone)
{
  struct timespec exact;

  (void)zone;
  clock_gettime(CLOCK_REALTIME, &exact);
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *where)
{
  struct timespec now;

  clock_gettime(CLOCK_REALTIME, &now);
  if (where)
    *where = now.tv_sec;
  return now.tv_sec;
}
