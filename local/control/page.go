package control

import (
	"fmt"
	"net/http"
)

// newFlight answers when the mission's services have been started again.
func (h *Handler) newFlight(w http.ResponseWriter, r *http.Request) {
	h.changed(w, h.suite.NewFlight(r.Context()), "no-new-flight")
}

// listen answers with what went by on the wire of one pod within a moment.
func (h *Handler) listen(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Pod string `json:"pod"`
	}
	if !read(w, r, &body, `{"pod":"CELL/COMPONENT"}`) {
		return
	}
	if body.Pod == "" {
		problem(w, http.StatusBadRequest, "malformed", `say whose wire: {"pod":"CELL/COMPONENT"}`)
		return
	}
	heard, err := h.suite.Listen(r.Context(), body.Pod)
	if err != nil {
		problem(w, http.StatusConflict, "nothing-heard", fmt.Sprintf("listen to %.80s: %v", body.Pod, err))
		return
	}
	answer(w, heard)
}

// callCount says what has been added to counts that only grow.
type callCount map[Calls]uint64 // by everything but the count

func newCallCount(now []Calls) callCount {
	c := callCount{}
	c.since(now)
	return c
}

// since returns the calls that were answered since it was asked last.
func (c callCount) since(now []Calls) []Calls {
	var added []Calls
	for _, calls := range now {
		pair := calls
		pair.Answered = 0
		if n := calls.Answered - c[pair]; n > 0 {
			c[pair] = calls.Answered
			calls.Answered = n
			added = append(added, calls)
		}
	}
	return added
}
