package endpoint

import (
	"encoding/json"
	"errors"
	"testing"

	"artemis.example/service/problem"
)

// FuzzDecode checks a body that any caller may send: what is accepted is one JSON
// object that the standard decoder reads the same, and every refusal is a problem
// of the caller's.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"type":"abort","reason":"x","deltaV":{"x":1.5}}`, `{"type":"a"}{"type":"b"}`, `[]`, `null`, "", " \t{}\n",
		`{"type":7}`, `{"Type":"a","TYPE":"b"}`,
		`{"deltaV":{"x":1e999}}`, `{"unknown":1}`, `{"type":"\ud800"}`,
	} {
		f.Add([]byte(s))
	}
	type input struct {
		Type, Reason string
		DeltaV       *struct{ X, Y, Z float64 }
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var in, same input
		err := Decode(b, &in)
		var p *problem.Problem
		switch {
		case err == nil:
			if err := json.Unmarshal(b, &same); err != nil {
				t.Fatalf("accepted %q: %v", b, err)
			}
			got, _ := json.Marshal(in)
			want, _ := json.Marshal(same)
			if string(got) != string(want) {
				t.Fatalf("read %q as %s, want %s", b, got, want)
			}
		case !errors.As(err, &p) || p.Status/100 != 4:
			t.Fatalf("%q: %v is no problem of the caller's", b, err)
		}
	})
}
