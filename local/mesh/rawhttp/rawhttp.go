// Package rawhttp lists requests byte by byte, asks them, and holds what a real
// waypoint and a real gateway answered: Envoy, configured by istiod's code, which
// conformance/waypoint asks. Our own are held against that by local/mesh's tests and
// by conformance. It decides nothing and is part of no program.
package rawhttp

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Way is what the words of a Case stand for, and how its caller connects.
type Way struct {
	Name          string
	Get, Post, No string
	Host          string
	Dial          func() (net.Conn, error)
}

// Answer is what a caller gets.
type Answer struct {
	// Answers are the answers in order: status, and what the answer says.
	Answers []string `json:"answers,omitempty"`
	// End is what becomes of the connection: "kept", "closed", "reset", or "waits"
	// when nobody ends it and nothing comes.
	End string `json:"end"`
}

const probe = "X-Probe: yes"

// Ask sends a case and returns what comes of it.
func (w Way) Ask(c Case) Answer {
	words := strings.NewReplacer("{get}", w.Get, "{post}", w.Post, "{no}", w.No, "{host}", w.Host)
	conn, err := w.Dial()
	if err != nil {
		return Answer{End: "no connection: " + err.Error()}
	}
	defer conn.Close()
	patience := 10 * time.Second
	if c.Waits {
		patience = 500 * time.Millisecond
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	// A peer that answers before it has read everything may break this off.
	_, _ = io.WriteString(conn, words.Replace(c.Send))
	var a Answer
	br := bufio.NewReader(conn)
	method, _, _ := strings.Cut(strings.TrimLeft(c.Send, "\r\n "), " ")
	over := false
	for range max(1, c.Answers) {
		var said string
		said, over, err = read(br, method)
		if err != nil {
			a.End = ending(err)
			return a
		}
		a.Answers = append(a.Answers, said)
		if over {
			break
		}
	}
	if !over {
		_, _ = io.WriteString(conn, words.Replace("GET {get} HTTP/1.1\r\nHost: {host}\r\n"+probe+"\r\n\r\n"))
	}
	said, _, err := read(br, http.MethodGet)
	switch {
	case err != nil:
		a.End = ending(err)
	case strings.Contains(said, "x-probe"):
		a.End = "kept"
	default:
		a.End = "one more answer: " + said
	}
	return a
}

func read(br *bufio.Reader, method string) (said string, over bool, err error) {
	res, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		return "", false, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return "", false, err
	}
	said = strings.TrimSpace(fmt.Sprintf("%d %s", res.StatusCode, b))
	for _, name := range []string{"grpc-status", "grpc-message"} {
		if v := res.Header.Get(name); v != "" {
			said += " " + name + "=" + v
		}
	}
	return said, res.Close, nil
}

func ending(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "waits"
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed"
	}
	return err.Error()
}

// unseen are the fields that a program is not asked about: what proxies add for
// their own purposes.
var unseen = map[string]bool{
	"X-Request-Id": true, "X-Forwarded-Client-Cert": true, "X-Forwarded-For": true, "X-Forwarded-Proto": true,
	"Accept-Encoding": true,
	"Traceparent":     true, "Tracestate": true, "X-B3-Traceid": true, "X-B3-Spanid": true, "X-B3-Sampled": true,
	"X-B3-Parentspanid": true,
}

// Program is what runs behind the ways: it answers with what it saw.
func Program(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var b strings.Builder
	target := r.RequestURI
	if len(target) > 200 {
		target = fmt.Sprintf("%.20s...(%d)", target, len(target))
	}
	fmt.Fprintf(&b, "%s %s %s", r.Method, target, r.Host)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if unseen[name] || strings.HasPrefix(name, "X-Envoy-") || strings.HasPrefix(name, "A") && len(r.Header) > 50 {
			continue
		}
		for _, v := range r.Header[name] {
			if len(v) > 200 {
				v = fmt.Sprintf("(%d)", len(v))
			}
			fmt.Fprintf(&b, " %s=%q", strings.ToLower(name), v)
		}
	}
	if len(body) > 0 || err != nil {
		fmt.Fprintf(&b, " body=%q", body)
		if err != nil {
			fmt.Fprintf(&b, " (%v)", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Trailer)) {
		fmt.Fprintf(&b, " trailer %s=%q", strings.ToLower(name), r.Trailer[name])
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, b.String())
}

//go:embed recorded.json
var recorded []byte

// Recorded returns what the real ones answered, by the way's name and the case's.
func Recorded() (map[string]map[string]Answer, error) {
	all := map[string]map[string]Answer{}
	if err := json.Unmarshal(recorded, &all); err != nil {
		return nil, fmt.Errorf("read recorded.json: %w", err)
	}
	return all, nil
}

// Ways returns the two ways of the suite: comms-system to guidance-nav through
// Orion's waypoint, and a client through the gateway, and Houston's waypoint, to
// flight-director.
func Ways(waypoint, gateway func() (net.Conn, error)) []Way {
	return []Way{
		{Name: "waypoint", Get: "/position", Post: "/maneuver", No: "/secret", Host: "guidance-nav", Dial: waypoint},
		{Name: "gateway", Get: "/flight-director-http/mission/status",
			Post: "/flight-director-http/trajectory/correction",
			No:   "/flight-director-http/secret", Host: "development-default.openchoreoapis.localhost", Dial: gateway},
	}
}

// AskAll asks every case, some beside each other, by name.
func (w Way) AskAll() map[string]Answer {
	cases := Cases()
	answers := make([]Answer, len(cases))
	next := make(chan int)
	var asking sync.WaitGroup
	for range 16 { // most wait for a second until Envoy ends a connection
		asking.Go(func() {
			for i := range next {
				answers[i] = w.Ask(cases[i])
			}
		})
	}
	for i := range cases {
		next <- i
	}
	close(next)
	asking.Wait()
	all := map[string]Answer{}
	for i, c := range cases {
		all[c.Name] = answers[i]
	}
	return all
}
