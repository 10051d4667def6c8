package netns

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	clusterZone = "cluster.local."
	answerTTL   = 5 // seconds, as CoreDNS' kubernetes plugin
)

// A pod's programs may hold so many connections to their name server, each for so
// long without a question; what is beyond that is closed at once. The descriptors
// are the node's, which all pods share.
const (
	maxNameConnections = 64
	nameIdle           = 5 * time.Second
)

// nameServer answers for the cluster's names in one pod, whatever server the
// program asks.
type nameServer struct{ udp, tcp *dns.Server }

// newNameServer opens its sockets in the network namespace of the calling
// thread.
func newNameServer(resolve func(string) ([]netip.Addr, bool)) (*nameServer, error) {
	addr := fmt.Sprintf("127.0.0.1:%d", dnsPort)
	ln, err := net.Listen("tcp4", addr)
	if err != nil {
		return nil, err
	}
	pc, err := net.ListenPacket("udp4", addr)
	if err != nil {
		ln.Close()
		return nil, err
	}
	h := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(answer(q, resolve)) })
	return &nameServer{
		udp: &dns.Server{PacketConn: pc, Handler: h},
		tcp: &dns.Server{
			Listener: &boundedListener{Listener: ln, free: maxNameConnections}, Handler: h,
			ReadTimeout: nameIdle, IdleTimeout: func() time.Duration { return nameIdle }, MaxTCPQueries: 1024,
		},
	}, nil
}

func (s *nameServer) start() {
	// They end with their sockets, and with nothing to tell.
	go func() { _ = s.udp.ActivateAndServe() }()
	go func() { _ = s.tcp.ActivateAndServe() }()
}

func (s *nameServer) stop() {
	_ = s.udp.PacketConn.Close()
	_ = s.tcp.Listener.Close()
}

func answer(q *dns.Msg, resolve func(string) ([]netip.Addr, bool)) *dns.Msg {
	m := new(dns.Msg)
	if len(q.Question) != 1 {
		return m.SetRcode(q, dns.RcodeFormatError)
	}
	question := q.Question[0]
	name := strings.ToLower(question.Name)
	if !dns.IsSubDomain(clusterZone, name) {
		return m.SetRcode(q, dns.RcodeRefused) // there is no server above us to ask
	}
	var addrs []netip.Addr
	var ok bool
	if resolve != nil {
		addrs, ok = resolve(strings.TrimSuffix(name, "."))
	}
	if !ok {
		return m.SetRcode(q, dns.RcodeNameError)
	}
	m.SetReply(q)
	m.Authoritative = true
	if question.Qtype != dns.TypeA { // the name exists, without such a record
		return m
	}
	for _, a := range addrs {
		m.Answer = append(m.Answer, &dns.A{A: a.AsSlice(), Hdr: dns.RR_Header{
			Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: answerTTL,
		}})
	}
	return m
}
