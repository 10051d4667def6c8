// What the page does: it plays attacks, switches stages, begins flights. What came of it comes back by the feed like everything else.
import { announce } from "./dom.js";
import { call, reason, pathsOf } from "./net.js";
import { answering, stages } from "./verdicts.js";
import { stageOf } from "./store.js";

const paths = pathsOf(location.href);
const breath = 1400; // between two attacks of the story, for who watches

export function makePlay(store) {
  let playing = 0;
  const act = {
    may: () => store.state.mode === "local" || store.state.mode === "cluster",
    why: () => (store.state.mode === "viewer" ? "View only: open the address that `artemis up` printed to steer (`artemis status` prints it again)." : "Connecting"),
    busy: () => playing > 0,
    // byPod reports whether the attack can be sent from here: on a cluster the console plays what pods send.
    playable: (attack) => store.state.mode === "local" || (store.state.mode === "cluster" && store.state.attackers.some((a) => a.name === attack.attacker && a.pod)),
  };
  const note = (words) => { store.state.note = words; store.changed("busy"); if (words) announce(words); };
  async function during(work) {
    playing++;
    note("");
    try { return await work(); } finally { playing--; store.changed("busy"); }
  }
  const said = (what, r) => { note(`${what}: ${reason(r)}`); return null; };

  // one plays an attack and returns its result, or null.
  async function one(attack) {
    if (store.state.mode === "local") {
      const r = await call("POST", `${paths.suite}attacks/${encodeURIComponent(attack.id)}`, {});
      if (!r.ok) return said("The attack was not played", r);
      return r.body;
    }
    // On a cluster: the operator's legitimate call before and after, carried to the judge as it came.
    const control = async () => { const c = attack.controlCall; if (!c) return null; const r = await call(c.body ? "POST" : "GET", c.path, c.body); return { status: r.status, body: r.text }; };
    const before = await control();
    const begun = await call("POST", `${paths.console}attacks/${encodeURIComponent(attack.id)}`, {});
    if (!begun.ok || !begun.body) return said("The attack was not launched", begun);
    const { run } = begun.body;
    store.take({ kind: "attack", data: { run, id: attack.id, attacker: attack.attacker, target: attack.target, stage: "", at: new Date().toISOString() } });
    for (let tries = 0; tries < 12; tries++) {
      const r = await call("GET", `${paths.console}results?run=${encodeURIComponent(run)}`);
      if (!r.ok) return said("No report from the attacker", r);
      const [result] = r.body.results || [];
      if (!result) continue;
      // The console judged by the attacker's word alone. With the controls the judge knows more. Where nobody has told the console which
      // stage is in force, the result belongs in no column.
      const after = await control();
      const judged = result.stage ? await call("POST", `${paths.console}results/${encodeURIComponent(run)}`, { before, after }) : null;
      const final = judged?.ok ? judged.body : result;
      store.take({ kind: "attack", data: { run, id: attack.id, attacker: attack.attacker, target: attack.target, stage: final.stage || "", at: final.at, result: final } });
      return final;
    }
    return null;
  }

  const pause = () => new Promise((resolve) => setTimeout(resolve, breath));
  const sorted = (list) => [...list].sort((a, b) => Number(!!a.last) - Number(!!b.last)); // what ends the flight is played last
  async function many(list, between) {
    if (playing) return;
    await during(async () => {
      const todo = sorted(list.filter(act.playable));
      for (const [i, a] of todo.entries()) { if (i && between) await pause(); await one(a); }
      announce(`${todo.length} attacks have been played.`);
    });
  }

  act.attack = (attack) => { if (!playing) return during(() => one(attack)); };
  act.story = () => many(store.state.attacks.filter((a) => a.category === "story"), true);
  act.all = () => many(store.state.attacks, false);

  act.stage = async (to) => {
    if (store.state.mode === "cluster") {
      // The page cannot switch a cluster. It takes the word of who did.
      const r = await call("POST", `${paths.console}stage`, { stage: to });
      if (!r.ok) { said("The console did not take the stage", r); return false; }
      note(`Results count as stage ${to}'s from now on. What switches the cluster: make stage-${to}`);
      return true;
    }
    if (store.state.mode !== "local") { note(act.why()); return false; }
    const r = await call("POST", `${paths.suite}stage`, { stage: to });
    if (!r.ok) { said("The stage was not changed", r); return false; }
    store.take({ kind: "suite", data: r.body });
    return true;
  };

  // neutralise raises the layer that answers and plays the same attack again.
  act.neutralise = async (result) => {
    const attack = store.state.attacks.find((a) => a.id === result.id);
    const from = result.stage || stageOf(store.state);
    const to = attack && answering(attack, from);
    if (playing || !attack) return;
    if (!to) { note(`No layer stops this one: ${attack.limits || ""}`); return; }
    if (store.state.mode !== "local") { note(`On a cluster: make stage-${to}, then play it again.`); return; }
    await during(async () => {
      if (stages.indexOf(stageOf(store.state)) < stages.indexOf(to) && !(await act.stage(to))) return;
      const after = await one(attack);
      if (after) { store.state.difference = { id: attack.id, before: result, after }; store.changed("results"); }
    });
  };

  act.start = async () => { const r = await call("POST", `${paths.launch}countdown/start`, {}); if (!r.ok) said("The countdown was not started", r); };
  act.newFlight = async () => {
    if (store.state.mode !== "local") { note("On a cluster: make undeploy deploy adversary"); return; }
    if (playing) return;
    await during(async () => {
      const r = await call("POST", `${paths.suite}new-flight`, {});
      if (!r.ok) { said("No new flight", r); return; }
      announce("The mission's services start again: a new flight.");
      // The count begins as soon as launch control answers; it is asked rather than waited for.
      for (const until = Date.now() + 20000; Date.now() < until;) {
        const s = await call("GET", `${paths.launch}countdown/status`, undefined, 3000);
        if (s.ok && s.body?.state === "idle" && store.state.status && !store.state.status.liftOff && !store.state.status.unavailable) break;
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
      await act.start();
    });
  };
  return act;
}
