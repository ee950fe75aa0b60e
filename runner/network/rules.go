//go:build linux

package network

import (
	"fmt"
	"net"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// rulesVersion names the table, so that a later hod with other rules makes its
// own table instead of believing that ours are right.
const rulesTable = "hod1"

// rules makes the table in one transaction, unless it is there. It has
//
//	postrouting  what leaves the subnet for elsewhere than the bridge is masqueraded
//	input        what comes from the bridge for the host itself is dropped, but for
//	             answers to connections that the host began
func (b *Bridge) rules() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("set packet rules: %w", err)
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return fmt.Errorf("list packet rules: %w; the kernel needs nf_tables, else use --network host or none", err)
	}
	for _, t := range tables {
		if t.Name == rulesTable {
			return nil
		}
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: rulesTable})
	nat := c.AddChain(&nftables.Chain{
		Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	c.AddRule(&nftables.Rule{Table: table, Chain: nat, Exprs: b.masquerade()})
	input := c.AddChain(&nftables.Chain{
		Name: "input", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
	})
	c.AddRule(&nftables.Rule{Table: table, Chain: input, Exprs: append(fromBridge(), answers()...)})
	c.AddRule(&nftables.Rule{Table: table, Chain: input, Exprs: append(fromBridge(), &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop})})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("set packet rules: %w; the kernel needs nf_tables with NAT, else use --network host or none", err)
	}
	return nil
}

// masquerade: meta nfproto ipv4 ip saddr SUBNET oifname != BRIDGE masquerade.
func (b *Bridge) masquerade() []expr.Any {
	subnet := b.prefix.Masked().Addr().As4()
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: net.CIDRMask(b.prefix.Bits(), 32), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: subnet[:]},
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: interfaceName(Name)},
		&expr.Counter{},
		&expr.Masq{},
	}
}

func fromBridge() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: interfaceName(Name)},
	}
}

// answers: ct state established,related accept.
func answers() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED),
			Xor:  make([]byte, 4),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}
}

// interfaceName is a name as the kernel's registers hold it: 16 bytes.
func interfaceName(s string) []byte {
	b := make([]byte, 16)
	copy(b, s)
	return b
}
