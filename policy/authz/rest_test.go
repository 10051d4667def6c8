package authz

import (
	"math/rand/v2"
	"strings"
	"testing"

	"artemis.example/policy/automaton"
)

// TestThePathDomainIsWhatNormalizePathLeaves compares with every short path of
// the bytes that matter.
func TestThePathDomainIsWhatNormalizePathLeaves(t *testing.T) {
	n := 0
	var all func(prefix string, left int)
	all = func(path string, left int) {
		normal, err := NormalizePath(path)
		if want, got := err == nil && normal == path, PathDomain().Contains(path); got != want {
			t.Fatalf("%q: in the domain %t, want %t (normal form %q, %v)", path, got, want, normal, err)
		}
		n++
		if left == 0 {
			return
		}
		for _, c := range "/.%2eF0a;\\A" {
			all(path+string(c), left-1)
		}
	}
	all("/", 6)
	for _, target := range []string{"/a?", "/?x=1?y#", "/a?x", "/.?x", "/a/..?x", "/a?#", "/%41?x", "/a??", "/a?%41",
		"/a? ", "?x", "/a%?b"} {
		normal, err := NormalizePath(target)
		if want, got := err == nil && normal == target, TargetDomain().Contains(target); got != want {
			t.Errorf("%q: in the domain of targets %t, want %t", target, got, want)
		}
	}
	for b := range 256 { // a query and a fragment are not the path's
		for _, path := range []string{"/" + string([]byte{byte(b)}), "/a" + string([]byte{byte(b)}) + "b",
			string([]byte{byte(b)})} {
			normal, err := NormalizePath(path)
			if want, got := err == nil && normal == path && b != '?', PathDomain().Contains(path); got != want {
				t.Errorf("%q: in the domain %t, want %t", path, got, want)
			}
		}
	}
	t.Logf("%d paths", n)
}

// TestAValuesAutomatonTakesWhatItsMatcherTakes holds the automata against the
// matchers of the data path, by every kind of value and strings like them.
func TestAValuesAutomatonTakesWhatItsMatcherTakes(t *testing.T) {
	e := envoy{namespace: "n", trustDomain: "cluster.local"}
	r := rand.New(rand.NewPCG(3, 4))
	for _, c := range []struct {
		name    string
		compile func(string) (matcher, error)
		values  []string
		pieces  []string
	}{
		{"paths", pathValue, []string{"/a", "/a*", "*a", "*", "/a/*/b", "/{*}/b", "/a/{**}", "/{*}/{**}/b", "/a{*}", "",
			"/{**}", "/a?b", "*?b"}, []string{"/", "a", "b", "/a", "/b", "", "%2F", "*", "?", "?a/b"}},
		{"headers", headerValue, []string{"a", "a*", "*a", "*", ""}, []string{"a", "b", "", " "}},
		{"hosts", hostValue, []string{"a.B", "a.B*", "*a.B", "*"}, []string{"a", "A", ".b", ".B", ":8", ""}},
		{"principals", e.principal, []string{"*", "cluster.local/ns/n/sa/s", "cluster.local/ns/n/*", "*/sa/s", "td*"},
			[]string{"spiffe://", "cluster.local", "/ns/n", "/ns/m", "/sa/s", "/sa/t", "td", "x"}},
		{"accounts", e.account, []string{"s", "m/s", "sa/s"}, []string{"spiffe://", "td", "/ns/n/", "/ns/m/", "/ns/",
			"sa/s", "sa/", "x/", "x", "/"}},
		{"namespaces", namespaceValue, []string{"n", "n*", "*", "n*m"}, []string{"spiffe://td", "/ns/n", "/ns/", "nm",
			"m", "/", "/sa/s"}},
		{"trust domains", trustDomainValue, []string{"td", "*", "t*", "*d", "a/*"}, []string{"spiffe://", "td", "t",
			"d", "/", "a/", "x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			matched := 0
			for _, v := range c.values {
				m, err := c.compile(v)
				if err != nil {
					t.Fatal(err)
				}
				p := m.pattern(nil, automaton.Any, nil)
				if c.name == "paths" {
					p = m.path()
				}
				for range 4000 {
					var s strings.Builder
					for range r.IntN(7) {
						s.WriteString(c.pieces[r.IntN(len(c.pieces))])
					}
					want := m.matches(s.String())
					if c.name == "paths" {
						want = m.matches(withoutQuery(s.String()))
					}
					if got := p.Matches(s.String()); got != want {
						t.Fatalf("value %q and %q: automaton %t, matcher %t", v, s.String(), got, want)
					}
					if want {
						matched++
					}
				}
			}
			if matched == 0 {
				t.Error("nothing matched: the strings are none like the values")
			}
		})
	}
}

func TestTheIdentityDomain(t *testing.T) {
	d := IdentityDomain("cluster.local")
	for v, want := range map[string]bool{
		"spiffe://cluster.local/ns/a/sa/b":         true,
		"spiffe://cluster.local/ns/a-b/sa/c-d.e":   true,
		"spiffe://cluster.local/ns/a/sa/b/c":       false,
		"spiffe://cluster.local/ns//sa/b":          false,
		"spiffe://cluster.local/ns/a-/sa/b":        false,
		"spiffe://cluster.local/ns/a/sa/b.":        false,
		"spiffe://cluster.local/ns/A/sa/b":         false,
		"spiffe://elsewhere/ns/a/sa/b":             false,
		"spiffe://cluster.local/ns/a.b/sa/c":       false,
		"spiffe://cluster.local/ns/0a/sa/9":        true,
		"spiffe://cluster.local/ns/a/sa/b-.c":      false,
		"spiffe://cluster.local/ns/a/sa/b--c":      true,
		"xspiffe://cluster.local/ns/a/sa/b":        false,
		"spiffe://cluster.local/ns/a/other/sa/b":   false,
		"spiffe://cluster.local/ns/sa/sa/sa":       true,
		"spiffe://cluster.local/ns/a/sa/b ":        false,
		"":                                         false,
		"spiffe://cluster.local/ns/a/sa/":          false,
		"spiffe://cluster.local/ns/a/sa/cluster.x": true,
	} {
		if got := d.Contains(v); got != want {
			t.Errorf("%q: in the domain %t, want %t", v, got, want)
		}
	}
}
