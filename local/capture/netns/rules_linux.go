package netns

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

var errNFT = errors.New("nftables does not work")

// loadRules writes the rules of the pod with that address into the network
// namespace of the calling thread:
//
//	table inet artemis {
//	  chain redirect { type nat hook output priority dstnat
//	    meta mark 0x539 return
//	    udp dport 53 redirect to :15053
//	    tcp dport 53 redirect to :15053
//	    ip daddr 127.0.0.0/8 return
//	    ip daddr POD-IP return
//	    meta nfproto ipv4 meta l4proto tcp redirect to :15001 }
//	  chain confine { type filter hook output priority filter; policy drop
//	    meta mark 0x539 accept
//	    ct state established,related accept
//	    ip daddr 127.0.0.0/8 accept
//	    ip daddr POD-IP accept
//	    ip6 daddr ::1 accept
//	    reject with icmpx admin-prohibited } }
//
// A pod's own address is let through by address, not by interface: every packet
// of a pod leaves by lo.
func loadRules(podIP netip.Addr) error {
	c, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return fmt.Errorf("%w: %w", errNFT, err)
	}
	defer c.CloseLasting()

	drop := nftables.ChainPolicyDrop
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "artemis"})
	rules := ruleset{conn: c, table: table}

	rules.chain = c.AddChain(&nftables.Chain{
		Name: "redirect", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
	})
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	self := netip.PrefixFrom(podIP, podIP.BitLen())
	rules.add(markIs(proxyMark), conclude(expr.VerdictReturn))
	rules.add(protocolIs(unix.IPPROTO_UDP), portIs(53), redirectTo(dnsPort))
	rules.add(protocolIs(unix.IPPROTO_TCP), portIs(53), redirectTo(dnsPort))
	rules.add(destinationIn(loopback), conclude(expr.VerdictReturn))
	rules.add(destinationIn(self), conclude(expr.VerdictReturn))
	rules.add(familyIs(unix.NFPROTO_IPV4), protocolIs(unix.IPPROTO_TCP), redirectTo(capturePort))

	rules.chain = c.AddChain(&nftables.Chain{
		Name: "confine", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter, Policy: &drop,
	})
	rules.add(markIs(proxyMark), conclude(expr.VerdictAccept))
	rules.add(knownConnection(), conclude(expr.VerdictAccept))
	rules.add(destinationIn(loopback), conclude(expr.VerdictAccept))
	rules.add(destinationIn(self), conclude(expr.VerdictAccept))
	rules.add(destinationIn(netip.PrefixFrom(netip.IPv6Loopback(), 128)), conclude(expr.VerdictAccept))
	rules.add([]expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH,
		Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}})

	if err := c.Flush(); err != nil { // all of it or nothing
		return fmt.Errorf("%w: %w", errNFT, err)
	}
	return nil
}

type ruleset struct {
	conn  *nftables.Conn
	table *nftables.Table
	chain *nftables.Chain
}

func (r ruleset) add(parts ...[]expr.Any) {
	rule := &nftables.Rule{Table: r.table, Chain: r.chain}
	for _, p := range parts {
		rule.Exprs = append(rule.Exprs, p...)
	}
	r.conn.AddRule(rule)
}

func equals(data []byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data} }

func markIs(mark uint32) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, equals(binaryutil.NativeEndian.PutUint32(mark))}
}

func familyIs(family byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, equals([]byte{family})}
}

func protocolIs(protocol byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equals([]byte{protocol})}
}

func portIs(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		equals(binaryutil.BigEndian.PutUint16(port)),
	}
}

// destinationIn matches a prefix of whole bytes. The family has to come first:
// in an inet table the payload alone would be compared in packets of both.
func destinationIn(p netip.Prefix) []expr.Any {
	family, offset := byte(unix.NFPROTO_IPV4), uint32(16)
	if p.Addr().Is6() {
		family, offset = unix.NFPROTO_IPV6, 24
	}
	n := p.Bits() / 8
	return append(familyIs(family),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(n)},
		equals(p.Addr().AsSlice()[:n]))
}

func knownConnection() []expr.Any {
	states := binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)
	zero := make([]byte, 4)
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: states, Xor: zero},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: zero},
	}
}

func redirectTo(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.Redir{RegisterProtoMin: 1},
	}
}

func conclude(v expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: v}} }
