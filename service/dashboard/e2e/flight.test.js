// Every condition of a flight is shown as what it is; results are filed where they belong. Without a browser.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { condition, clockOf } from "../assets/flight.js";
import { apply, initial } from "../assets/store.js";
import { answering, label, outcome } from "../assets/verdicts.js";

const now = Date.parse("2026-04-01T12:00:00Z");
const flying = { phase: "outbound", phaseTitle: "Trans-lunar coast", missionTime: 90000, liftOff: "2026-04-01T11:50:00Z", timeScale: 1440, contact: { state: "live", lastFrameAt: "2026-04-01T11:59:59Z" }, maneuvers: [] };
const at = (status, more = {}, age = 0) => { const c = condition({ ...initial(), status: status && { ...flying, ...status }, statusAt: now - age, ...more }, now); return [c.id, c.tone, c.current]; };
const abort = { maneuvers: [{ type: "abort", reason: "an order" }] };

describe("the condition of a flight", () => {
  for (const [what, got, want] of [
    ["nothing has come yet", at(null), ["connecting", "unknown", false]],
    ["on the pad", at({ phase: "pre-launch", liftOff: null, missionTime: null, contact: { state: "none" } }), ["idle", "calm", true]],
    ["counting", at({ phase: "pre-launch", liftOff: null, countdown: "counting" }), ["count", "calm", true]],
    ["held", at({ phase: "pre-launch", liftOff: null }, { countdown: { state: "holding", tMinusS: 5, holdReason: "weather" } }), ["count", "unknown", true]],
    ["in flight", at({}), ["flight", "good", true]],
    ["in flight, and its reports are old", at({}, {}, 9000), ["stale", "unknown", false]],
    ["in flight, and Houston's monitor is down", at({ unavailable: { detail: "no answer" } }), ["blind", "unknown", false]],
    ["no frames come down", at({ contact: { state: "lost" } }), ["silent", "unknown", false]],
    ["aborted", at(abort), ["aborted", "bad", true]],
    ["aborted and home", at({ ...abort, phase: "splashdown", contact: { state: "lost" } }), ["home", "bad", false]],
    ["home, where nothing comes down any more", at({ phase: "splashdown", contact: { state: "lost" } }), ["home", "good", false]],
    ["never to return", at({ phase: "lost", phaseTitle: "No return" }), ["lost-craft", "bad", false]],
    ["home, and the next count runs", at({ phase: "splashdown", liftOff: null, countdown: "counting" }), ["count", "calm", true]],
  ]) test(what, () => assert.deepEqual(got, want));

  test("the clock stands still when nothing comes, and at home", () => {
    const clock = (status, age) => { const state = { ...initial(), status: { ...flying, ...status }, statusAt: now - age }; return clockOf(condition(state, now), state, now); };
    assert.equal(clock({}, 1000), 90000 + 1440);
    assert.equal(clock({}, 60000), 90000);
    assert.equal(clock({ phase: "splashdown" }, 0), null);
  });

  test("figures of a former mission are called so", () => {
    const state = { ...initial(), status: { ...flying, phase: "pre-launch", liftOff: null }, statusAt: now };
    assert.equal(condition(state, now).former, true);
  });
});

describe("the store", () => {
  const result = (more) => ({ run: "r1", id: "vitals", stage: "open", verdict: "allowed", at: "2026-04-01T12:00:00Z", attacker: "orion-rogue", ...more });
  const suite = (startedAt) => ({ kind: "suite", data: { stage: "zero-trust", startedAt, pods: [] } });

  test("files a result under its own stage, whatever stage is in force, and one without a stage nowhere", () => {
    const state = initial();
    apply(state, suite("1"));
    apply(state, { kind: "attack", data: { run: "r1", id: "vitals", at: "2026-04-01T12:00:00Z", result: result() } });
    apply(state, { kind: "attack", data: { run: "r2", id: "uplink", at: "2026-04-01T12:00:01Z", result: result({ run: "r2", id: "uplink", stage: "" }) } });
    assert.deepEqual(Object.keys(state.results), ["vitals|open"]);
    assert.equal(state.latest.run, "r2");
  });

  test("takes another suite's decisions from the first on and keeps nothing of the former", () => {
    const state = initial();
    apply(state, suite("1"));
    for (const seq of [7, 8, 8]) apply(state, { kind: "decision", data: { seq } });
    apply(state, { kind: "attacks", data: { attacks: [], attackers: [], results: [result()] } });
    apply(state, { kind: "status", data: { status: { ...flying, distanceEarthKm: 5 }, at: now } });
    assert.deepEqual([state.decisions.length, state.histories.distance.length], [2, 1]);
    apply(state, suite("2"));
    assert.deepEqual([state.decisions, state.results, state.latest, state.status, state.histories.distance], [[], {}, null, null, []]);
    apply(state, { kind: "decision", data: { seq: 1 } });
    assert.deepEqual(state.decisions, [{ seq: 1 }]);
  });

  test("forgets the mission when another begins", () => {
    const state = initial();
    apply(state, { kind: "status", data: { status: { ...flying, distanceEarthKm: 5 }, at: now } });
    apply(state, { kind: "status", data: { status: { ...flying, liftOff: null }, at: now } });
    assert.deepEqual([state.status.liftOff, state.histories.distance], [null, []]);
  });

  test("stays bounded", () => {
    const state = initial();
    for (let seq = 1; seq <= 5000; seq++) {
      apply(state, { kind: "decision", data: { seq, verdict: seq % 2 ? "allowed" : "denied-l7" } });
      apply(state, { kind: "trace", data: { seq } });
      apply(state, { kind: "status", data: { status: { ...flying, distanceEarthKm: seq }, at: now } });
    }
    assert.deepEqual([state.decisions.length, state.refusals.length, state.traces.length, state.histories.distance.length], [500, 200, 200, 180]);
  });
});

describe("a result is shown by who wins", () => {
  const words = (verdict, layer) => { const o = outcome({ verdict, layer }); return [o.wins, o.mark, o.word]; };
  test("with the layer that answered", () => {
    assert.deepEqual(words("allowed"), ["attacker", "☠", "BREACHED"]);
    assert.deepEqual(words("denied-l7", 3), ["mission", "3", "STOPPED BY 3 · WAYPOINT"]);
    assert.deepEqual(words("denied-l4", 2), ["mission", "2", "STOPPED BY 2 · LOCK"]);
    assert.deepEqual(words("denied-network", 1), ["mission", "1", "STOPPED BY 1 · WALL"]);
    assert.deepEqual([outcome({ verdict: "allowed", evidence: { effect: false } }).wins, outcome({ verdict: "allowed", evidence: { effect: true } }).wins], ["vain", "attacker"]);
    for (const v of ["unknown", "target-down", "attacker-down"]) assert.equal(words(v)[0], "nobody");
  });
  test("with the policies that would have had to allow it", () => {
    const attackers = [{ name: "houston-rogue", namespace: "dp-default-houston-development-8d981cd8", pod: "adversary" }];
    const r = { verdict: "denied-l7", layer: 3, attacker: "houston-rogue", evidence: { status: 403, sent: "POST /decision/abort HTTP/1.1" }, decision: { policy: "ns/default-deny, ns/flight-director-authz" } };
    assert.equal(label(r, attackers), "403 · houston/adversary is not in allowFrom: no rule of default-deny, flight-director-authz lets it POST /decision/abort");
  });
  test("and the next stage that answers is the campaign's", () => {
    const attack = { expect: { "open": { verdict: "allowed" }, "mtls": { verdict: "allowed" }, "zero-trust": { verdict: "denied-l7" } } };
    assert.equal(answering(attack, "open"), "zero-trust");
    assert.equal(answering({ expect: { "zero-trust": { verdict: "allowed" } } }, "open"), null);
  });
});
