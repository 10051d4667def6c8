package rawhttp

// Difference is an answer of ours that is not Envoy's, and why that is meant.
type Difference struct {
	Why  string
	Ours Answer
}

// Different returns how a case is answered differently on purpose, if it is.
func Different(way, name string) (Difference, bool) {
	d, ok := differences[way][name]
	return d, ok
}

var differences = map[string]map[string]Difference{}
