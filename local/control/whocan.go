package control

import (
	"net"
	"net/http"
	"slices"

	"artemis.example/policy/analysis"
)

// whoCan answers who can call ?to=, and with ?from= what that one can, for every
// request and by every way, as things are now.
func (h *Handler) whoCan(w http.ResponseWriter, r *http.Request) {
	stage, world := h.suite.InForce()
	if world == nil {
		problem(w, http.StatusServiceUnavailable, "not-in-force", "no manifests are in force yet")
		return
	}
	to, from := r.URL.Query().Get("to"), r.URL.Query().Get("from")
	if to == "" {
		problem(w, http.StatusBadRequest, "malformed", "say whom you ask about: ?to=CELL/COMPONENT")
		return
	}
	state := h.suite.State()
	running := map[string]bool{}
	for _, p := range state.Pods {
		running[p.Name()] = true
	}
	o := analysis.Options{Stage: stage, Running: running, StandIns: slices.Collect(world.Apps())}
	_, o.GatewayPort, _ = net.SplitHostPort(state.Gateway)
	said, err := analysis.WhoCan(analysis.Exactly(world), to, from, o)
	if err != nil {
		problem(w, http.StatusNotFound, "unknown-name", err.Error())
		return
	}
	answer(w, said)
}
