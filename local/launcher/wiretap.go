package launcher

import (
	"encoding/json"
	"net/http"
	"sync"

	"artemis.example/local/capture"
)

// wiretap sends what goes over the node's network, a segment a line, until the
// client goes. It is served on the control socket only.
func (l *launcher) wiretap(w http.ResponseWriter, r *http.Request) {
	tapper, ok := l.resources.Node.(capture.Tapper)
	if !ok {
		http.Error(w, "this capture has nothing to listen to", http.StatusNotImplemented)
		return
	}
	var mu sync.Mutex // a tap may see several connections at once
	out, lines := http.NewResponseController(w), json.NewEncoder(w)
	wait, err := tapper.Tap(r.Context(), func(s capture.Segment) {
		mu.Lock()
		defer mu.Unlock()
		if lines.Encode(s) == nil {
			_ = out.Flush()
		}
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Artemis-Tap", tapper.TapSource())
	mu.Lock()
	err = out.Flush()
	mu.Unlock()
	if err != nil {
		return
	}
	if err := wait(); err != nil {
		mu.Lock()
		defer mu.Unlock()
		_ = lines.Encode(map[string]string{"error": err.Error()})
	}
}
