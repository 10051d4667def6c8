package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"artemis.example/catalog"
	"artemis.example/policy/decision"
)

const (
	maxBody      = 4 << 10
	maxRecords   = 1000
	heartbeat    = 15 * time.Second // keeps idle event streams from being cut
	statePause   = 50 * time.Millisecond
	countPause   = 500 * time.Millisecond
	jsonType     = "application/json"
	streamType   = "text/event-stream"
	methodsRead  = "GET, HEAD"
	methodsWrite = "POST"
)

// Handler serves /_artemis/.
type Handler struct {
	suite     Suite
	decisions Decisions
	attacks   Attacks
	mux       *http.ServeMux
}

// NewHandler makes the handler of the control paths. What comes in over the
// gateway's port has to go through Operator.
func NewHandler(suite Suite, decisions Decisions, attacks Attacks) *Handler {
	h := &Handler{suite: suite, decisions: decisions, attacks: attacks, mux: http.NewServeMux()}
	h.mux.HandleFunc("/_artemis/state", only(methodsRead, h.state))
	h.mux.HandleFunc("/_artemis/decisions", only(methodsRead, h.recent))
	h.mux.HandleFunc("/_artemis/who-can", only(methodsRead, h.whoCan))
	h.mux.HandleFunc("/_artemis/events", only(methodsRead, h.events))
	h.mux.HandleFunc("/_artemis/stage", only(methodsWrite, h.stage))
	h.mux.HandleFunc("/_artemis/apply", only(methodsWrite, h.apply))
	h.mux.HandleFunc("/_artemis/new-flight", only(methodsWrite, h.newFlight))
	h.mux.HandleFunc("/_artemis/listen", only(methodsWrite, h.listen))
	h.mux.HandleFunc("/_artemis/attacks", only(methodsRead, h.listAttacks))
	h.mux.HandleFunc("/_artemis/attacks/{id}", only(methodsWrite, h.attack))
	h.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		problem(w, http.StatusNotFound, "not-found", "there is no "+r.URL.Path)
	})
	return h
}

// ServeHTTP answers a request for /_artemis/.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	h.mux.ServeHTTP(w, r)
}

func only(methods string, next http.HandlerFunc) http.HandlerFunc {
	allowed := strings.Split(methods, ", ")
	return func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(allowed, r.Method) {
			w.Header().Set("Allow", methods)
			problem(w, http.StatusMethodNotAllowed, "method-not-allowed", r.Method+" is not for "+r.URL.Path)
			return
		}
		next(w, r)
	}
}

func (h *Handler) state(w http.ResponseWriter, _ *http.Request) { answer(w, h.suite.State()) }

func (h *Handler) stage(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Stage string `json:"stage"`
	}
	if !read(w, r, &body, `{"stage":"open|mtls|zero-trust"}`) {
		return
	}
	if !slices.Contains(catalog.Stages(), body.Stage) {
		problem(w, http.StatusBadRequest, "unknown-stage", fmt.Sprintf("there are only the stages %s",
			strings.Join(catalog.Stages(), ", ")))
		return
	}
	h.changed(w, h.suite.SetStage(r.Context(), body.Stage), "stage-refused")
}

// changed answers with what has become of the suite, or why it stays as it is.
func (h *Handler) changed(w http.ResponseWriter, err error, code string) {
	if err != nil {
		problem(w, http.StatusConflict, code, err.Error())
		return
	}
	answer(w, h.suite.State())
}

func (h *Handler) listAttacks(w http.ResponseWriter, r *http.Request) {
	answer(w, h.attacks.List(r.Context()))
}

// attack answers when the attack is judged.
func (h *Handler) attack(w http.ResponseWriter, r *http.Request) {
	result, ok := h.attacks.Play(r.Context(), r.PathValue("id"))
	if !ok {
		problem(w, http.StatusNotFound, "not-found", fmt.Sprintf("the campaign has no attack %.60q", r.PathValue("id")))
		return
	}
	answer(w, result)
}

// apply puts the manifests on disk in force now.
func (h *Handler) apply(w http.ResponseWriter, r *http.Request) {
	var body struct {
		AcceptLoss bool `json:"acceptLoss"`
	}
	if !read(w, r, &body, `{"acceptLoss":true|false}`) {
		return
	}
	h.changed(w, h.suite.Apply(r.Context(), body.AcceptLoss), "not-put-in-force")
}

func (h *Handler) recent(w http.ResponseWriter, r *http.Request) {
	since, ok1 := number(r, "since", 0)
	limit, ok2 := number(r, "limit", 200)
	if !ok1 || !ok2 || limit > maxRecords {
		problem(w, http.StatusBadRequest, "malformed",
			fmt.Sprintf("since and limit are whole numbers, limit is at most %d", maxRecords))
		return
	}
	records, next := h.decisions.Since(since, int(max(limit, 1)))
	answer(w, struct {
		Decisions []decision.Record `json:"decisions"`
		Next      uint64            `json:"next"`
	}{records, next})
}

// events sends the state now and at each change, every decision after
// ?since=SEQ, or every new one, every attack that starts or is judged, and twice
// a second the calls that no decision records. A client that reconnects goes on
// by Last-Event-ID; one that says with ?epoch= which suite SEQ is of (the
// state's startedAt) gets everything of another.
func (h *Handler) events(w http.ResponseWriter, r *http.Request) {
	since, ok := number(r, "since", ^uint64(0))
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		n, err := strconv.ParseUint(id, 10, 64)
		since, ok = n, ok && err == nil
	}
	if !ok {
		problem(w, http.StatusBadRequest, "malformed", "since is a whole number")
		return
	}
	if epoch := r.URL.Query().Get("epoch"); epoch != "" && epoch != h.suite.State().StartedAt.Format(time.RFC3339Nano) {
		since = 0
	}
	if since == ^uint64(0) {
		since = h.decisions.Last()
	}
	w.Header().Set("Content-Type", streamType)
	if r.Method == http.MethodHead {
		return
	}
	out := http.NewResponseController(w)
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	pause := time.NewTimer(time.Hour)
	pause.Stop()
	defer pause.Stop()
	stateChanged, due := h.suite.Changed(), true
	attacks := h.attacks.Follow(r.Context())
	counting := time.NewTicker(countPause)
	defer counting.Stop()
	counted := newCallCount(h.suite.Calls())
	var newDecision <-chan struct{}
	for {
		if due { // first of all: a client knows by it which suite it hears
			stateChanged, due = h.suite.Changed(), false
			if send(w, "state", "", h.suite.State()) != nil {
				return
			}
		}
		var err error
		if since, err = h.sendDecisions(w, since); err != nil || out.Flush() != nil {
			return
		}
		if newDecision == nil {
			newDecision = h.await(r.Context(), since)
		}
		select {
		case <-r.Context().Done():
			return
		case <-newDecision:
			newDecision = nil
		case event, ok := <-attacks:
			if !ok {
				attacks = nil // the context has ended
			} else if send(w, "attack", "", event) != nil {
				return
			}
		case <-stateChanged: // many pods change at once: tell of them together
			stateChanged = nil
			pause.Reset(statePause)
		case <-pause.C:
			due = true
		case <-counting.C:
			if calls := counted.since(h.suite.Calls()); len(calls) > 0 && send(w, "calls", "", calls) != nil {
				return
			}
		case <-tick.C:
			if _, err := fmt.Fprint(w, ": still here\n\n"); err != nil {
				return
			}
		}
	}
}

// send writes one event of a stream (HTML Living Standard, 9.2).
func send(w io.Writer, event, id string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if id != "" {
		id = "id: " + id + "\n"
	}
	_, err = fmt.Fprintf(w, "event: %s\n%sdata: %s\n\n", event, id, data)
	return err
}

// sendDecisions sends all that there are after since, and returns the number to go on
// with.
func (h *Handler) sendDecisions(w io.Writer, since uint64) (uint64, error) {
	for {
		records, next := h.decisions.Since(since, maxRecords)
		for _, rec := range records {
			if err := send(w, "decision", strconv.FormatUint(rec.Seq, 10), rec); err != nil {
				return since, err
			}
		}
		if since = next; len(records) < maxRecords {
			return since, nil
		}
	}
}

// await returns a channel that is closed when there is a decision after seq.
func (h *Handler) await(ctx context.Context, seq uint64) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = h.decisions.Wait(ctx, seq) // an error is the end of the context
	}()
	return done
}

func number(r *http.Request, name string, otherwise uint64) (uint64, bool) {
	v := r.URL.Query().Get(name)
	if v == "" {
		return otherwise, true
	}
	n, err := strconv.ParseUint(v, 10, 63)
	return n, err == nil
}

// read decodes a request's body, or answers that it has to be of a form.
func read(w http.ResponseWriter, r *http.Request, body any, form string) bool {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != jsonType {
		problem(w, http.StatusUnsupportedMediaType, "unsupported-media-type", "the content type has to be "+jsonType)
		return false
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(body); err != nil || d.More() {
		problem(w, http.StatusBadRequest, "malformed", "the body has to be "+form)
		return false
	}
	return true
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", jsonType)
	// The client went away: nobody is left to be told.
	_ = json.NewEncoder(w).Encode(v)
}

// problem answers with an RFC 9457 problem document.
func problem(w http.ResponseWriter, status int, code, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"type": "about:blank", "title": http.StatusText(status), "status": status, "code": code, "detail": detail,
	})
}
