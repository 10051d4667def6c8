package launcher

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"artemis.example/local/capture"
)

// wiretap sends what goes over the node's network, a segment a line, until the
// client goes. It is served on the control socket only.
func (l *launcher) wiretap(w http.ResponseWriter, r *http.Request) {
	var mu sync.Mutex
	out, lines := http.NewResponseController(w), json.NewEncoder(w)
	wait, err := l.tap(r.Context(), &mu, func(s capture.Segment) {
		if lines.Encode(s) == nil {
			_ = out.Flush()
		}
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Artemis-Tap", l.resources.Node.TapSource())
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

// tap listens on the node's network: wait has see called with each segment, with mu
// held, as several connections may be seen at once.
func (l *launcher) tap(ctx context.Context, mu *sync.Mutex, see func(capture.Segment)) (wait func() error, err error) {
	wait, err = l.resources.Node.Tap(ctx, func(s capture.Segment) {
		mu.Lock()
		defer mu.Unlock()
		see(s)
	})
	if err != nil {
		return nil, fmt.Errorf("tap the node's network: %w", err)
	}
	return wait, nil
}
