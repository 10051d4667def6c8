package xds

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"artemis.example/local/identity"
)

const (
	// holdFor is how long a request waits for something new; it also bounds how
	// late a renewed certificate is noticed.
	holdFor = 20 * time.Second
	// offers is how often one version is sent to an Envoy that does not take it.
	offers     = 3
	maxRequest = 1 << 20
)

// ErrRefused is wrapped where an Envoy does not take a configuration.
var ErrRefused = errors.New("the configuration is refused by Envoy")

// Server is the discovery service of one Envoy, as REST
// (envoyproxy.io, xDS REST and gRPC protocol, "REST-JSON polling subscriptions"):
// a request is answered when there is something that Envoy does not have.
// Clusters come before the listeners that need them.
type Server struct {
	identity func() (identity.PEM, error)

	mu        sync.Mutex
	version   int
	resources map[string][]json.RawMessage // by kind, of version
	held      map[string]string            // by kind: the version that Envoy says it has
	offered   map[string]int               // by kind: how often version was sent
	changed   chan struct{}
}

// The kinds are the ends of the request's path.
const (
	listeners = "listeners"
	clusters  = "clusters"
	secrets   = "secrets"
)

// NewServer returns a Server that has nothing but the identity yet.
func NewServer(identity func() (identity.PEM, error)) *Server {
	s := &Server{identity: identity, changed: make(chan struct{})}
	s.Restart()
	return s
}

// Set makes a configuration the one to take.
func (s *Server) Set(c Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	s.resources = map[string][]json.RawMessage{listeners: c.Listeners, clusters: c.Clusters}
	s.offered = map[string]int{}
	s.notify()
}

// Restart forgets what Envoy has: a new one is about to start.
func (s *Server) Restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held, s.offered = map[string]string{}, map[string]int{}
	s.notify()
}

// Taken waits until Envoy has what was Set last. The error wraps ErrRefused or
// is the context's.
func (s *Server) Taken(ctx context.Context) error {
	for {
		s.mu.Lock()
		changed, want := s.changed, strconv.Itoa(s.version)
		done := true
		for _, kind := range []string{clusters, listeners} {
			if s.held[kind] == want {
				continue
			}
			done = false
			if s.offered[kind] > offers {
				s.mu.Unlock()
				return fmt.Errorf("%w, its %s", ErrRefused, kind)
			}
		}
		s.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Server) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// discoveryRequest is the part of envoy.service.discovery.v3.DiscoveryRequest
// that matters here, in the names that Envoy writes.
type discoveryRequest struct {
	VersionInfo   string   `json:"version_info"`
	ResourceNames []string `json:"resource_names"`
}

type discoveryResponse struct {
	VersionInfo string            `json:"versionInfo"`
	TypeURL     string            `json:"typeUrl"`
	Resources   []json.RawMessage `json:"resources"`
}

// ServeHTTP answers POST /v3/discovery:listeners, :clusters and :secrets.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind, ok := strings.CutPrefix(r.URL.Path, "/v3/discovery:")
	if !ok || r.Method != http.MethodPost || !slices.Contains([]string{listeners, clusters, secrets}, kind) {
		http.NotFound(w, r)
		return
	}
	var req discoveryRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, maxRequest)).Decode(&req); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	next, err := s.next(kind, req)
	held := time.NewTimer(holdFor)
	defer held.Stop()
	for err == nil && next.response == nil {
		select {
		case <-next.changed:
			next, err = s.next(kind, req)
		case <-held.C:
			if next, err = s.next(kind, req); err == nil && next.response == nil {
				w.WriteHeader(http.StatusNotModified)
				return
			}
		case <-r.Context().Done():
			return
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// Envoy asks again when the answer does not arrive.
	_ = json.NewEncoder(w).Encode(next.response)
}

type offer struct {
	response *discoveryResponse // nil while there is nothing new
	changed  <-chan struct{}
}

func (s *Server) next(kind string, req discoveryRequest) (offer, error) {
	if kind == secrets {
		return s.nextSecret(req)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	version := strconv.Itoa(s.version)
	if s.held[kind] != req.VersionInfo {
		s.held[kind] = req.VersionInfo
		s.notify()
	}
	o := offer{changed: s.changed}
	if s.version == 0 || req.VersionInfo == version || kind == listeners && s.held[clusters] != version {
		return o, nil
	}
	if s.offered[kind]++; s.offered[kind] > offers {
		if s.offered[kind] == offers+1 {
			s.notify()
			o.changed = s.changed
		}
		return o, nil
	}
	types := map[string]string{listeners: ListenerType, clusters: ClusterType}
	o.response = &discoveryResponse{version, types[kind], s.resources[kind]}
	return o, nil
}

// nextSecret returns the identity when it is another one than Envoy has.
func (s *Server) nextSecret(req discoveryRequest) (offer, error) {
	s.mu.Lock()
	o := offer{changed: s.changed}
	s.mu.Unlock()
	pem, err := s.identity()
	if err != nil {
		return o, err
	}
	sum := sha256.Sum256(append(slices.Clone(pem.Certificate), pem.Roots...))
	version := hex.EncodeToString(sum[:8])
	if version == req.VersionInfo {
		return o, nil
	}
	inline := func(b []byte) object { return object{"inlineBytes": b} }
	all := map[string]object{
		SecretIdentity: {"tlsCertificate": object{"certificateChain": inline(pem.Certificate),
			"privateKey": inline(pem.Key)}},
		SecretRoots: {"validationContext": object{"trustedCa": inline(pem.Roots)}},
	}
	o.response = &discoveryResponse{VersionInfo: version, TypeURL: secretType}
	for _, name := range req.ResourceNames {
		secret, ok := all[name]
		if !ok {
			return o, fmt.Errorf("there is no secret %q", name)
		}
		secret["@type"], secret["name"] = secretType, name
		b, err := json.Marshal(secret)
		if err != nil {
			return o, err
		}
		o.response.Resources = append(o.response.Resources, b)
	}
	return o, nil
}
