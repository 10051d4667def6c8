package role

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"artemis.example/service/dashboard"
	"artemis.example/service/endpoint"
	"artemis.example/service/problem"
)

// contentSecurityPolicy lets the page load what this service serves, and nothing
// else from anywhere.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// page serves the dashboard and its events.
func (f *directorRole) page() []endpoint.Endpoint {
	return []endpoint.Endpoint{
		endpoint.Stream(http.MethodGet, "/", http.HandlerFunc(f.index)),
		endpoint.Stream(http.MethodGet, "/assets/*", http.HandlerFunc(f.asset)),
		endpoint.Stream(http.MethodGet, "/events", http.HandlerFunc(f.hub.events)),
	}
}

func secure(h http.Header) {
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache")
}

func (f *directorRole) index(w http.ResponseWriter, _ *http.Request) {
	page, err := dashboard.Index()
	if err != nil {
		endpoint.Refuse(w, problem.New(problem.Internal, "no page in this binary"))
		return
	}
	secure(w.Header())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(page)
}

func (f *directorRole) asset(w http.ResponseWriter, r *http.Request) {
	files, err := dashboard.Assets()
	if err != nil {
		endpoint.Refuse(w, problem.New(problem.Internal, "no assets in this binary"))
		return
	}
	// The raw path names the file: none of ours needs an escape.
	name := strings.TrimPrefix(r.URL.EscapedPath(), "/assets/")
	body, err := fs.ReadFile(files, name)
	if err != nil || !fs.ValidPath(name) {
		endpoint.Refuse(w, problem.New(problem.NotFound, "no such asset"))
		return
	}
	secure(w.Header())
	kind := mime.TypeByExtension(path.Ext(name))
	switch path.Ext(name) {
	case ".js", ".mjs":
		kind = "text/javascript; charset=utf-8"
	case ".css":
		kind = "text/css; charset=utf-8"
	case ".svg":
		kind = "image/svg+xml"
	case ".woff2":
		kind = "font/woff2"
	}
	if kind != "" {
		w.Header().Set("Content-Type", kind)
	}
	w.Write(body)
}

// events streams what happens (Server-Sent Events, HTML Living Standard 9.2).
func (h *hub) events(w http.ResponseWriter, r *http.Request) {
	events, leave := h.join()
	if events == nil {
		endpoint.Refuse(w, problem.New(problem.Internal, "too many listeners"))
		return
	}
	defer leave()
	control := http.NewResponseController(w)
	secure(w.Header())
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

// Bounds of the streams.
const (
	maxListeners  = 64
	listenerQueue = 64
)

// hub returns every listener every event. One that reads too slowly misses
// events rather than holding up the others.
type hub struct {
	mu        sync.Mutex
	listeners map[chan []byte]bool
	closed    bool
}

func newHub() *hub { return &hub{listeners: map[chan []byte]bool{}} }

func (h *hub) join() (events chan []byte, leave func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.listeners) >= maxListeners {
		return nil, nil
	}
	events = make(chan []byte, listenerQueue)
	h.listeners[events] = true
	return events, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.listeners, events)
	}
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
