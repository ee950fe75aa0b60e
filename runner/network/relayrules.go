//go:build linux

package network

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// rulePorts are the ports to which the packets of a family go.
type rulePorts struct {
	family   byte
	tcp, udp uint16
}

// rules sends what comes from the container to the relay's sockets. The caller is in the relay's namespace.
//
//	from up, TCP that begins a connection   dropped: the gate has seen it and sends it again when the host's side is there
//	from up, and again, other TCP and UDP   to the relay's sockets, marked
//	from up, all else but neighbours' talk  dropped
func (r *Relay) rules(ports []rulePorts) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("set packet rules: %w", err)
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: rulesTable})
	chain := c.AddChain(&nftables.Chain{
		Name: "prerouting", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityMangle,
	})
	add := func(parts ...[]expr.Any) {
		var all []expr.Any
		for _, p := range parts {
			all = append(all, p...)
		}
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: all})
	}
	drop := []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}
	add(cameFrom("up"), protocol(unix.IPPROTO_TCP), beginning(), drop)
	for _, p := range ports {
		add(ofFamily(p.family), protocol(unix.IPPROTO_TCP), caughtBy(p.family, p.tcp))
		add(ofFamily(p.family), protocol(unix.IPPROTO_UDP), caughtBy(p.family, p.udp))
	}
	add(cameFrom("up"), protocol(unix.IPPROTO_ICMP), drop)
	add(cameFrom("up"), protocol(unix.IPPROTO_ICMPV6), payload(expr.PayloadBaseTransportHeader, 0, []byte{128}), drop) // echo request
	if err := c.Flush(); err != nil {
		return fmt.Errorf("set packet rules: %w; without root the kernel needs nf_tables and nft_tproxy, else use --network host or none", err)
	}
	return nil
}

func cameFrom(device string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: interfaceName(device)},
	}
}

func ofFamily(f byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{f}},
	}
}

func protocol(p byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{p}},
	}
}

func payload(base expr.PayloadBase, offset uint32, want []byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: uint32(len(want))},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: want},
	}
}

// beginning: tcp flags & (syn|ack) == syn.
func beginning() []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{tcpSYN | tcpACK}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{tcpSYN}},
	}
}

// caughtBy: tproxy to :port, meta mark set caught, accept.
func caughtBy(family byte, port uint16) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
		&expr.TProxy{Family: family, TableFamily: byte(nftables.TableFamilyINet), RegPort: 1},
		&expr.Immediate{Register: 1, Data: binaryutil.NativeEndian.PutUint32(caught)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}
}
