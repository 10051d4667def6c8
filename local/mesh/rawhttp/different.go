package rawhttp

// Difference is an answer of ours that is not Envoy's, and why that is meant.
type Difference struct {
	Why  string
	Ours Answer
}

// Different returns how a case is answered differently on purpose, if it is.
func Different(way, name string) (Difference, bool) {
	d, ok := differences[name][way]
	return d, ok
}

// Differences returns why cases are answered differently on purpose, by their name.
func Differences() map[string]string {
	why := map[string]string{}
	for name, ways := range differences {
		for _, d := range ways {
			why[name] = d.Why
		}
	}
	return why
}

// The reasons.
const (
	twoReadings = "another reader may see another body there, and no client sends it"
	framesHop   = "what delimits the body would be taken away; no client sends it"
	passesOn    = "trailers are passed on; Envoy drops them over HTTP/1"
	wholeAnswer = "the whole answer to an upgrade that is not taken is passed on; Envoy ends it behind the head"
	noWaiting   = "answered at once; Envoy waits for a body that is there"
	noPolicy    = "the words differ; the status does not"
	oneHop      = "the gateway adds less to the head, which therefore stays within the waypoint's bound"
)

var (
	refusedAlike = Answer{Answers: []string{"400 Bad Request"}, End: "closed"}
	director     = "development-default.openchoreoapis.localhost"
)

var differences = map[string]map[string]Difference{
	"chunks: a trailer that is folded": both(twoReadings, refusedAlike),
	"chunks: more than the size":       both(twoReadings, refusedAlike),
	"chunks: two sizes":                both(twoReadings, refusedAlike),
	"Connection names the coding":      both(framesHop, refusedAlike),
	"Connection names the length":      both(framesHop, refusedAlike),
	"upgrade with a body":              both(noWaiting, refusedAlike),
	"method QUERY":                     both(noPolicy, refusedAlike),
	"chunks: a trailer": {
		"waypoint": {passesOn, Answer{Answers: []string{`200 POST /maneuver guidance-nav body="hello" trailer a=["b"]`},
			End: "kept"}},
		"gateway": {passesOn, Answer{Answers: []string{`200 POST /trajectory/correction ` + director +
			` body="hello" trailer a=["b"]`}, End: "kept"}},
	},
	"upgrade to websocket, not taken": notTaken("websocket"),
	"upgrade to WebSocket, not taken": notTaken("WebSocket"),
	"target of 50 KiB": {
		"gateway": {oneHop, Answer{Answers: []string{"200 GET /mission/status?aaaa...(51216) " + director},
			End: "kept"}},
	},
}

func both(why string, a Answer) map[string]Difference {
	return map[string]Difference{"waypoint": {why, a}, "gateway": {why, a}}
}

func notTaken(to string) map[string]Difference {
	answer := func(target, host string) Answer {
		return Answer{Answers: []string{`200 GET ` + target + ` ` + host + ` connection="Upgrade" upgrade="` + to +
			`"`}, End: "kept"}
	}
	return map[string]Difference{
		"waypoint": {wholeAnswer, answer("/position", "guidance-nav")},
		"gateway":  {wholeAnswer, answer("/mission/status", director)},
	}
}
