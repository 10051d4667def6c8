package authz

import (
	"bytes"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"artemis.example/conformance/enforcer"
	"artemis.example/conformance/translate"
	"artemis.example/local/http1"
	"artemis.example/policy/authz"
	"artemis.example/policy/message"
)

// outcome is a decision in the form in which both sides are compared.
type outcome struct {
	// Status is 200, 403, or what a request is answered that no policy saw.
	Status int
	// Body is the answer's where no policy saw the request.
	Body string
	// Rule is the rule that allowed or denied, empty where none did.
	Rule string
	// Seen are the headers that the policies saw, pseudo-headers included, in lines.
	Seen string
}

func (o outcome) String() string {
	return fmt.Sprintf("%d %q, rule %q, seen\n\t%s", o.Status, o.Body, o.Rule, strings.ReplaceAll(o.Seen, "\n", "\n\t"))
}

// refused reports whether no policy saw the request.
func (o outcome) refused() bool { return o.Seen == "" }

// envoyOutcome reads Envoy's verdict. isAllow reports whether a rule stands in an
// ALLOW policy: the audit filter names rules too.
func envoyOutcome(v enforcer.Verdict, isAllow func(rule string) bool) (outcome, error) {
	o := outcome{Status: v.Status}
	if len(v.Seen) == 0 {
		o.Body = v.Body
		return o, nil
	}
	o.Seen = seenText(v.Seen)
	switch v.Status {
	case http.StatusOK:
		if isAllow(v.Rule) {
			o.Rule = v.Rule
		}
		return o, nil
	case http.StatusForbidden:
		rule, ok := strings.CutPrefix(v.Details, "rbac_access_denied_matched_policy[")
		if !ok {
			return o, fmt.Errorf("403 by Envoy for another reason: %+v", v)
		}
		if rule = strings.TrimSuffix(rule, "]"); rule != "none" {
			o.Rule = rule
		}
		return o, nil
	}
	return o, fmt.Errorf("a request that the policies of Envoy saw was answered neither 200 nor 403: %+v", v)
}

// localEngine is the project's evaluator for a waypoint's Service.
func localEngine(policies []*securityv1.AuthorizationPolicy, t translate.Target) *authz.Engine {
	return authz.NewWaypoint(authz.Config{}, policies).ForService(t.Namespace, t.Waypoint, t.Service)
}

// localOutcome judges a request as the built-in waypoint does, by the reader that
// it has: message.Head and message.Waypoint.See.
func localOutcome(e *authz.Engine, c enforcer.Client, r enforcer.Request) outcome {
	var head message.Head
	err := http1.NewReader(bytes.NewReader(r.Bytes())).ReadRequest(&head, nil)
	refusal := message.Refuse(err)
	q := authz.Request{Principal: c.Principal, SourceIP: c.Source, DestIP: c.Dest.Addr(), DestPort: c.Dest.Port(),
		Header: http.Header{}, HTTP: true}
	if err == nil {
		_, refusal = message.Waypoint{Identity: c.WaypointIdentity(), ClientIdentity: !c.Silent}.See(&head, &q)
	}
	if refusal != nil {
		if r.Method == http.MethodHead {
			refusal.Body = ""
		}
		return outcome{Status: refusal.Status, Body: refusal.Body}
	}
	res := e.Decide(&q)
	o := outcome{Status: http.StatusForbidden, Rule: res.Rule, Seen: seen(&q)}
	if res.Allowed {
		o.Status = http.StatusOK
	}
	return o
}

// madeUp is an x-request-id that a waypoint made up; its version tells whether the request
// is traced.
var madeUp = regexp.MustCompile(`^x-request-id=[0-9a-f]{8}-[0-9a-f]{4}-[49ab][0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// seenText is what policies saw in one text, with one x-request-id for all that are
// made up.
func seenText(lines []string) string {
	for i, line := range lines {
		if madeUp.MatchString(line) {
			lines[i] = "x-request-id=generated"
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// seen writes what policies see of a request as the enforcer does.
func seen(q *authz.Request) string {
	lines := []string{":method=" + q.Method, ":scheme=" + q.Scheme, ":authority=" + q.Host, ":path=" + q.Path}
	for name, values := range q.Header {
		for _, v := range values {
			lines = append(lines, strings.ToLower(name)+"="+v)
		}
	}
	for i, l := range lines {
		lines[i] = escaped(l)
	}
	return seenText(lines)
}

func escaped(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
