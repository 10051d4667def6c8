package role

import "testing"

func TestNobodyTakesAllEventStreams(t *testing.T) {
	h := newHub()
	var leave []func()
	for range 2 * maxListeners {
		if events, l := h.join("10.244.0.28"); events != nil {
			leave = append(leave, l)
		}
	}
	if len(leave) != maxListenersOfOneAddr {
		t.Errorf("one address has %d streams, want %d", len(leave), maxListenersOfOneAddr)
	}
	if events, _ := h.join("10.244.0.2"); events == nil {
		t.Error("nobody else gets one")
	}
	leave[0]()
	if events, _ := h.join("10.244.0.28"); events == nil {
		t.Error("a stream that ended makes no room for the next")
	}
}
