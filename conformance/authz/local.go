package authz

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"

	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"artemis.example/conformance/enforcer"
	"artemis.example/conformance/translate"
	"artemis.example/local/mesh/http1"
	"artemis.example/policy/authz"
)

// outcome is a decision in the form in which both sides are compared.
type outcome struct {
	// Status is 200, 403, or 400 for a request that no policy saw.
	Status int
	// Rule is the rule that allowed or denied, empty where none did.
	Rule string
	// Path is the path that was matched, with the query; empty after a 400.
	Path string
}

func (o outcome) String() string {
	return fmt.Sprintf("%d, rule %q, path %q", o.Status, o.Rule, o.Path)
}

// envoyOutcome reads Envoy's verdict. isAllow reports whether a rule stands in an
// ALLOW policy: the audit filter names rules too.
func envoyOutcome(v enforcer.Verdict, isAllow func(rule string) bool) (outcome, error) {
	o := outcome{Status: v.Status, Path: v.Path}
	switch v.Status {
	case http.StatusBadRequest:
		return outcome{Status: http.StatusBadRequest}, nil
	case http.StatusNotFound: // a target that is neither a path nor a URL
		if v.Details == "absolute_path_rejected" {
			return outcome{Status: http.StatusBadRequest}, nil
		}
	case http.StatusOK:
		if isAllow(v.Rule) {
			o.Rule = v.Rule
		}
		return o, nil
	case http.StatusForbidden:
		rule, ok := strings.CutPrefix(v.Details, "rbac_access_denied_matched_policy[")
		if !ok {
			return o, fmt.Errorf("Envoy answered 403 for another reason: %+v", v)
		}
		if rule = strings.TrimSuffix(rule, "]"); rule != "none" {
			o.Rule = rule
		}
		return o, nil
	}
	return o, fmt.Errorf("Envoy answered neither 200, 403 nor 400: %+v", v)
}

// localEngine is the project's evaluator for a waypoint's Service.
func localEngine(policies []*securityv1.AuthorizationPolicy, t translate.Target) *authz.Engine {
	return authz.NewWaypoint(authz.Config{}, policies).ForService(t.Namespace, t.Waypoint, t.Service)
}

// localOutcome judges a request as the built-in waypoint does, by the same
// steps (local/mesh, exchange.one): read the head, take the target, normalise
// the path, decide.
func localOutcome(e *authz.Engine, c enforcer.Client, port uint16, r enforcer.Request) outcome {
	refused := outcome{Status: http.StatusBadRequest}
	var head http1.Head
	if err := http1.NewReader(bytes.NewReader(r.Bytes())).ReadRequest(&head, nil); err != nil {
		return refused
	}
	target, err := head.Path()
	if err != nil {
		return refused
	}
	if target != "*" {
		if target, err = authz.NormalizePath(target); err != nil {
			return refused
		}
	}
	h := http.Header{}
	head.Lines(h)
	if head.Get("x-forwarded-proto") == "" {
		h["X-Forwarded-Proto"] = []string{"https"} // a waypoint says http: its HTTP chains are behind the tunnel
	}
	res := e.Decide(&authz.Request{
		Principal: c.Principal, SourceIP: c.Source, RemoteIP: head.Client(c.Source), DestIP: c.Dest, DestPort: port,
		Method: head.Method, Host: head.Host, Path: path, Header: h, HTTP: true,
	})
	o := outcome{Status: http.StatusForbidden, Rule: res.Rule, Path: target}
	if res.Allowed {
		o.Status = http.StatusOK
	}
	return o
}
