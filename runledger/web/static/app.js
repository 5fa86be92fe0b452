// Asks for the page again and puts in what differs; without this script the pages are read by reloading them.
"use strict";
(() => {
  const seconds = Number(document.body.dataset.refresh);
  const live = document.getElementById("live");
  const pause = document.getElementById("pause");
  let paused = sessionStorage.getItem("paused") === "1";

  function sameKind(a, b) {
    return a.nodeType === b.nodeType && a.nodeName === b.nodeName && (a.id || "") === (b.id || "");
  }

  // Makes `old` equal to `fresh` with as few changes as need be, so that focus, scrolling and what is open stay.
  function morph(old, fresh) {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    const keep = old.nodeName === "DETAILS" ? ["open"] : ["INPUT", "SELECT"].includes(old.nodeName) ? ["value"] : [];
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !keep.includes(name)) old.removeAttribute(name);
    }
    for (const { name, value } of [...fresh.attributes]) {
      if (old.getAttribute(name) !== value && !keep.includes(name)) old.setAttribute(name, value);
    }
    if (old.nodeName === "FORM" && old.contains(document.activeElement)) return;
    let at = old.firstChild;
    for (const wanted of [...fresh.childNodes]) {
      if (wanted.nodeName === "BUTTON" && wanted.className === "copy") continue;
      while (at && at.className === "copy") at = at.nextSibling;
      if (at && !sameKind(at, wanted) && wanted.id) {
        const there = [...old.childNodes].find((c) => c.id === wanted.id);
        if (there) { old.insertBefore(there, at); morph(there, wanted); continue; }
      }
      if (at && sameKind(at, wanted)) { const next = at.nextSibling; morph(at, wanted); at = next; }
      else old.insertBefore(document.importNode(wanted, true), at);
    }
    while (at) { const next = at.nextSibling; if (at.className !== "copy") at.remove(); at = next; }
  }

  function offerCopies() {
    if (!navigator.clipboard) return;
    for (const fix of document.querySelectorAll(".fix")) {
      if (fix.querySelector(".copy")) continue;
      const button = document.createElement("button");
      button.type = "button"; button.className = "copy"; button.textContent = "Copy";
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(fix.querySelector("pre").textContent);
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
      });
      fix.append(button);
    }
  }

  function say(words, lost) { live.textContent = words; live.className = lost ? "live lost" : "live"; }

  let wait = seconds;
  async function refresh() {
    if (paused || document.hidden || document.querySelector("details.change[open]")) return schedule();
    try {
      const answer = await fetch(location.href, { headers: { "X-Refresh": "1" }, signal: AbortSignal.timeout(15000) });
      if (answer.redirected) return location.reload();
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const id of ["main", "where"]) {
        const old = document.getElementById(id), wanted = fresh.getElementById(id);
        if (!old || !wanted) continue;
        const flash = old.querySelector("#flash");
        if (flash && !wanted.querySelector("#flash")) wanted.prepend(flash.cloneNode(true));
        morph(old, wanted);
      }
      document.title = fresh.title;
      offerCopies();
      wait = seconds;
      say("live", false);
    } catch {
      wait = Math.min(wait * 2, 60);
      say("reconnecting…", true);
    }
    schedule();
  }
  function schedule() { setTimeout(refresh, wait * 1000); }

  function showPause() {
    pause.hidden = false;
    pause.textContent = paused ? "Resume" : "Pause";
    pause.setAttribute("aria-label", paused ? "Refresh this page again" : "Stop refreshing this page");
    say(paused ? "paused" : "live", false);
  }
  if (pause && seconds > 0) {
    pause.addEventListener("click", () => {
      paused = !paused;
      sessionStorage.setItem("paused", paused ? "1" : "0");
      showPause();
    });
    showPause();
    schedule();
  }
  offerCopies();

  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/INPUT|SELECT|TEXTAREA/.test(document.activeElement.nodeName)) {
      event.preventDefault();
      document.querySelector(".search input").focus();
    }
  });

  // The token in the address is for this form alone: take it out of the history.
  const signIn = document.getElementById("sign-in");
  if (signIn && location.hash.length > 1) {
    document.getElementById("token").value = decodeURIComponent(location.hash.slice(1));
    history.replaceState(null, "", location.pathname);
    signIn.submit();
  }
})();
