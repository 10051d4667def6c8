package launcher

import (
	"context"
	"encoding/json"
	"errors"
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
	source, wait, err := l.tap(r.Context(), &mu, func(s capture.Segment) {
		if lines.Encode(s) == nil {
			_ = out.Flush()
		}
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotImplemented)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Artemis-Tap", source)
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
// held, as a tap may see several connections at once. source says where it listens.
func (l *launcher) tap(ctx context.Context, mu *sync.Mutex, see func(capture.Segment)) (
	source string, wait func() error, err error) {
	tapper, ok := l.resources.Node.(capture.Tapper)
	if !ok {
		return "", nil, errors.New("this capture has nothing to listen to")
	}
	wait, err = tapper.Tap(ctx, func(s capture.Segment) {
		mu.Lock()
		defer mu.Unlock()
		see(s)
	})
	if err != nil {
		return "", nil, fmt.Errorf("tap the node's network: %w", err)
	}
	return tapper.TapSource(), wait, nil
}
