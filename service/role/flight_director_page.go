package role

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"

	"artemis.example/service/dashboard"
	"artemis.example/service/endpoint"
	"artemis.example/service/problem"
)

// page serves the dashboard and its events.
func (f *directorRole) page() []endpoint.Endpoint {
	return []endpoint.Endpoint{
		endpoint.Stream("/", f.file),
		endpoint.Stream("/assets/*", f.file),
		endpoint.Stream("/events", f.hub.events),
	}
}

func (f *directorRole) file(w http.ResponseWriter, r *http.Request) {
	body, header, ok := dashboard.File(r.URL.EscapedPath())
	if !ok {
		endpoint.Refuse(w, problem.New(problem.NotFound, "no such asset"))
		return
	}
	maps.Copy(w.Header(), header)
	w.Write(body)
}

// events streams what happens (Server-Sent Events, HTML Living Standard 9.2).
func (h *hub) events(w http.ResponseWriter, r *http.Request) {
	events, leave := h.join(callerAddress(r))
	if events == nil {
		endpoint.Refuse(w, problem.New(problem.Internal, "too many listeners"))
		return
	}
	defer leave()
	control := http.NewResponseController(w)
	dashboard.Secure(w.Header())
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	// The deadlines of the server are for answers, not for a stream.
	_ = control.SetReadDeadline(time.Time{})
	if _, err := fmt.Fprint(w, "retry: 2000\n\n"); err != nil || control.Flush() != nil {
		return
	}
	alive := time.NewTicker(15 * time.Second)
	defer alive.Stop()
	for {
		var message []byte
		select {
		case <-r.Context().Done():
			return
		case <-alive.C:
			message = []byte(": alive\n\n")
		case m, ok := <-events:
			if !ok {
				return
			}
			message = m
		}
		_ = control.SetWriteDeadline(time.Now().Add(10 * time.Second))
		if _, err := w.Write(message); err != nil || control.Flush() != nil {
			return
		}
	}
}

// Bounds of the streams. Nobody gets so many that others get none.
const (
	maxListeners          = 64
	maxListenersOfOneAddr = 48
	listenerQueue         = 64
)

// hub sends every event to every listener. One that reads too slowly misses some
// rather than holding up the others.
type hub struct {
	mu        sync.Mutex
	listeners map[chan []byte]string // where each listens from
	closed    bool
}

func newHub() *hub { return &hub{listeners: map[chan []byte]string{}} }

// join makes somebody at an address a listener, unless there are too many.
func (h *hub) join(from string) (events chan []byte, leave func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.listeners) >= maxListeners {
		return nil, nil
	}
	same := 0
	for _, other := range h.listeners {
		if other == from {
			same++
		}
	}
	if same >= maxListenersOfOneAddr {
		return nil, nil
	}
	events = make(chan []byte, listenerQueue)
	h.listeners[events] = from
	return events, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.listeners, events)
	}
}

// callerAddress is the address of who asks, as far as this pod can see.
func callerAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

func (h *hub) publish(kind string, event any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.listeners) == 0 {
		return
	}
	data, err := json.Marshal(event)
	if err != nil {
		return
	}
	message := append(append([]byte("event: "+kind+"\ndata: "), data...), '\n', '\n')
	for events := range h.listeners {
		select {
		case events <- message:
		default:
		}
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for events := range h.listeners {
		close(events)
		delete(h.listeners, events)
	}
}
