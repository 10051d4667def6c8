package authz_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"artemis.example/policy/authz"
	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// expression returns the regular expression that Istio makes of a value, or one
// with the meaning of the string matcher that it makes.
func expression(kind, v string) string {
	q := regexp.QuoteMeta
	affix := func(before string) string {
		switch {
		case v == "*":
			return ".+"
		case strings.HasPrefix(v, "*"):
			return before + ".*" + q(v[1:])
		case strings.HasSuffix(v, "*"):
			return before + q(v[:len(v)-1]) + ".*"
		}
		return before + q(v)
	}
	switch kind {
	case "principals":
		return affix("spiffe://")
	case "namespaces":
		return ".*/ns/" + strings.ReplaceAll(q(v), `\*`, ".*") + "/.*"
	case "serviceAccounts":
		ns, sa, ok := strings.Cut(v, "/")
		if !ok {
			ns, sa = "cell-a", v
		}
		return fmt.Sprintf("spiffe://.+/ns/%s/(.+/|)sa/%s(/.+)?", q(ns), q(sa))
	case "trustDomains":
		switch before, after, star := strings.Cut(v, "*"); {
		case v == "*":
			return "spiffe://.*"
		case star:
			return "spiffe://" + q(before) + "[^/]*" + q(after) + "/.*"
		}
		return "spiffe://" + q(v) + "/.*"
	case "paths":
		if strings.Contains(v, "{*}") || strings.Contains(v, "{**}") {
			const pchar = `a-zA-Z0-9\-._~%!$&'()*+,;:@=`
			e := strings.ReplaceAll(q(v), `\{\*\*\}`, "["+pchar+"/]*")
			return strings.ReplaceAll(e, `\{\*\}`, "["+pchar+"]+")
		}
		return affix("")
	}
	return affix("")
}

// FuzzDecideAgreesWithIstiosExpressions compares the hand-written matchers with
// the regular expressions that Istio would hand to Envoy.
func FuzzDecideAgreesWithIstiosExpressions(f *testing.F) {
	kinds := []string{"principals", "namespaces", "serviceAccounts", "trustDomains", "paths"}
	for _, s := range []struct {
		kind         uint8
		value, input string
	}{
		{0, "*/sa/web", id("cell-b", "web")}, {0, "a/*", "spiffe://a/b"}, {1, "c*b", id("cell-b", "web")},
		{1, "*", "/ns//"},
		{2, "cell-b/web", "spiffe://td/x/ns/cell-b/k/sa/web/more"}, {2, "web", "spiffe:///ns/cell-a/sa/web"},
		{2, "a/b", "spiffe://x/ns/a/ns/a/sa/sa/b"},
		{4, "/{*}", "/*"}, {3, "*.local", id("a", "b")}, {3, "x*", "spiffe://x"}, {4, "/v3/{**}/end", "/v3//end"},
		{4, "/{*}/{*}/x/{**}", "/a/b/x/c"}, {4, "*/x*", "/a/x*"},
	} {
		f.Add(s.kind, s.value, s.input)
	}
	f.Fuzz(func(t *testing.T, kind uint8, value, input string) {
		k := kinds[int(kind)%len(kinds)]
		switch {
		case value == "", strings.ContainsAny(value+input, "\n?#"), !utf8.ValidString(value), !utf8.ValidString(input):
			return
		case k == "serviceAccounts" && (strings.Contains(value, "*") || strings.Count(value, "/") > 1):
			return // refused by admission
		case k == "trustDomains" && (strings.Contains(value, "/") || strings.Count(value, "*") > 1):
			return
		case k == "paths" && strings.ContainsAny(value, "{}") && !templateLike.MatchString(value):
			return
		}
		p := &securityv1.AuthorizationPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "cell-a"},
			Spec: securityv1beta1.AuthorizationPolicy{TargetRefs: []*typev1beta1.PolicyTargetReference{
				{Kind: "Service", Name: "app"}}},
		}
		r, req := &securityv1beta1.Rule{}, request()
		s, o := &securityv1beta1.Source{}, &securityv1beta1.Operation{}
		switch req.Principal = input; k {
		case "principals":
			s.Principals = []string{value}
		case "namespaces":
			s.Namespaces = []string{value}
		case "serviceAccounts":
			s.ServiceAccounts = []string{value}
		case "trustDomains":
			s.TrustDomains = []string{value}
		case "paths":
			o.Paths, req.Path = []string{value}, input
		}
		if k == "paths" {
			r.To = []*securityv1beta1.Rule_To{{Operation: o}}
		} else {
			r.From = []*securityv1beta1.Rule_From{{Source: s}}
		}
		p.Spec.Rules = []*securityv1beta1.Rule{r}
		want := regexp.MustCompile("^(?:" + expression(k, value) + ")$").MatchString(input)
		got := authz.NewWaypoint(authz.Config{}, []*securityv1.AuthorizationPolicy{p}).ForService("cell-a", "waypoint",
			"app").Decide(req)
		if got.Allowed != want {
			t.Errorf("%s: [%q] with %q: allowed %t, Istio's expression says %t", k, value, input, got.Allowed, want)
		}
	})
}

// templateLike is what admission lets through of path templates.
var templateLike = regexp.MustCompile(
	`^(/([a-zA-Z0-9\-._~%!$&'()+,;:@=]+|\{\*\}))*(/\{\*\*\}(/[a-zA-Z0-9\-._~%!$&'()+,;:@=]+)*)?/?$`)
