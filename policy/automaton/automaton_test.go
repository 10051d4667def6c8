package automaton_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"testing"

	"artemis.example/policy/automaton"
	"github.com/google/go-cmp/cmp"
)

// words are all strings of the alphabet up to a length.
func words(alphabet string, length int) []string {
	all, level := []string{""}, []string{""}
	for range length {
		var next []string
		for _, w := range level {
			for i := range len(alphabet) {
				next = append(next, w+alphabet[i:i+1])
			}
		}
		all, level = append(all, next...), next
	}
	return all
}

func pattern(r *rand.Rand) automaton.Pattern {
	pieces := []string{"a", "b", "/", "/a", "/b/", "A"}
	sequence := func() automaton.Sequence {
		var q automaton.Sequence
		for range 1 + r.IntN(3) {
			switch piece := pieces[r.IntN(len(pieces))]; r.IntN(6) {
			case 0:
				q = q.Many(automaton.Set(r.IntN(4)))
			case 1:
				q = q.Some(automaton.Set(r.IntN(4)))
			case 2:
				q = q.Fold(piece)
			default:
				q = q.Literal(piece)
			}
		}
		return q
	}
	if r.IntN(3) == 0 {
		return automaton.Or(sequence(), sequence())
	}
	return automaton.Or(sequence())
}

// TestTheClassesAreThoseOfAllShortStrings compares random patterns with every
// string of up to five bytes: no class is missing, and each has a witness that
// only its own patterns take.
func TestTheClassesAreThoseOfAllShortStrings(t *testing.T) {
	const alphabet = "abA/?"
	all := words(alphabet, 5)
	domain := automaton.NewDomain("[" + alphabet + "]*")
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		var ps []automaton.Pattern
		for range 1 + r.IntN(4) {
			ps = append(ps, pattern(r))
		}
		in := func(v string) []int {
			var out []int
			for i, p := range ps {
				if p.Matches(v) {
					out = append(out, i)
				}
			}
			return out
		}
		cut, err := automaton.Cut(domain, ps, 100_000)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for _, c := range cut {
			if got[fmt.Sprint(c.In)] {
				t.Errorf("class %v is given twice", c.In)
			}
			got[fmt.Sprint(c.In)] = true
			if !slices.Equal(in(c.Witness), c.In) {
				t.Errorf("%q is in %v, its class says %v", c.Witness, in(c.Witness), c.In)
			}
		}
		for _, w := range all {
			if k := fmt.Sprint(in(w)); !got[k] {
				t.Fatalf("%q is in %s, and there is no such class", w, k)
			}
		}
	}
}

// TestADomainIsWhatItsExpressionTakes as package regexp does, of every short string.
func TestADomainIsWhatItsExpressionTakes(t *testing.T) {
	for _, expression := range []string{"", "a*", "(a|b/)+A?", "[^a]*b", "(?i:ab)|/[/A]*", "((a|)b*)*/", "a{2,3}[?/]"} {
		domain, whole := automaton.NewDomain(expression), regexp.MustCompile("^(?:"+expression+")$")
		for _, w := range words("abA/?", 5) {
			if got, want := domain.Contains(w), whole.MatchString(w); got != want {
				t.Fatalf("%s: %q is in the domain: %t, want %t", expression, w, got, want)
			}
		}
	}
}

func TestADomainBoundsWhatAWitnessCanBe(t *testing.T) {
	domain := automaton.NewDomain("[0-9]+")
	cut, err := automaton.Cut(domain, []automaton.Pattern{
		automaton.Or(automaton.Sequence{}.Literal("42")),
		automaton.Or(automaton.Sequence{}.Literal("4").Many(automaton.Any)),
		automaton.Or(automaton.Sequence{}.Literal("x").Many(automaton.Any)),
	}, 100)
	if err != nil {
		t.Fatal(err)
	}
	want := []automaton.Class{{In: []int{1}, Witness: "4"}, {Witness: "0"}, {In: []int{0, 1}, Witness: "42"}}
	if diff := cmp.Diff(want, cut); diff != "" {
		t.Errorf("classes (-want +got):\n%s", diff)
	}
}

func TestTooManyStatesAreSaidNotGuessed(t *testing.T) {
	var ps []automaton.Pattern
	for i := range 12 {
		q := automaton.Sequence{}.Many(automaton.Any).Literal("a")
		for range i {
			q = append(q, automaton.Sequence{}.Literal("b")...)
		}
		ps = append(ps, automaton.Or(q))
	}
	_, err := automaton.Cut(automaton.NewDomain("[ab]*"), ps, 5)
	var many *automaton.ErrTooMany
	if !errors.As(err, &many) || many.States != 5 {
		t.Errorf("error %v, want that there are more than 5 states", err)
	}
}

// BenchmarkCut cuts by a thousand exact paths, a hundred prefixes and some
// templates.
func BenchmarkCut(b *testing.B) {
	var ps []automaton.Pattern
	for i := range 1000 {
		ps = append(ps, automaton.Or(automaton.Sequence{}.Literal(fmt.Sprintf("/api/v1/thing%d/detail", i))))
	}
	for i := range 100 {
		ps = append(ps, automaton.Or(automaton.Sequence{}.Literal(fmt.Sprintf("/static/%d/", i)).Many(automaton.Any)))
	}
	ps = append(ps,
		automaton.Or(automaton.Sequence{}.Literal("/api/").Some(automaton.Segment).Literal("/thing7/").Many(
			automaton.Segments)),
		automaton.Or(automaton.Sequence{}.Many(automaton.Any).Literal(".json")),
		automaton.Or(automaton.Sequence{}.Some(automaton.Any)))
	domain := automaton.NewDomain("[!-~]+")
	for b.Loop() {
		cut, err := automaton.Cut(domain, ps, 1_000_000)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(cut)), "classes")
	}
}
