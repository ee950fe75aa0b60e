//go:build linux

package network

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// rulesTable has a number, so that a later hod with other rules makes its own
// table instead of believing that ours are right. formerTables are those of
// earlier ones, whose refusals would count too.
const rulesTable = "hod3"

var formerTables = [...]string{"hod", "hod1", "hod2"}

// hostSet has the addresses that may reach the bridge's own.
const hostSet = "host"

// rules makes the table in one transaction, unless it is there. It has
//
//	postrouting  what leaves the subnet for elsewhere than the bridge is masqueraded
//	input        what comes from the bridge for the host itself is dropped, but for
//	             answers to connections that the host began, and what an address
//	             of the set host sends to the bridge's own
//	forward      what goes to the bridge from elsewhere is dropped, but for answers
func (b *Bridge) rules() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("set packet rules: %w", err)
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return fmt.Errorf("list packet rules: %w; the kernel needs nf_tables, else use --network host or none", err)
	}
	if slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == rulesTable }) {
		return passForward(c)
	}
	for _, t := range tables {
		if slices.Contains(formerTables[:], t.Name) {
			c.DelTable(t)
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
	from := onBridge(expr.MetaKeyIIFNAME, expr.CmpOpEq)
	c.AddRule(&nftables.Rule{Table: table, Chain: input, Exprs: slices.Concat(from, answers())})
	hosts := &nftables.Set{Table: table, Name: hostSet, KeyType: nftables.TypeIPAddr}
	if err := c.AddSet(hosts, nil); err != nil {
		return fmt.Errorf("set packet rules: %w", err)
	}
	c.AddRule(&nftables.Rule{Table: table, Chain: input, Exprs: slices.Concat(from, b.toGateway(hosts), verdict(expr.VerdictAccept))})
	c.AddRule(&nftables.Rule{Table: table, Chain: input, Exprs: slices.Concat(from, verdict(expr.VerdictDrop))})
	forward := c.AddChain(&nftables.Chain{
		Name: "forward", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	to := append(onBridge(expr.MetaKeyOIFNAME, expr.CmpOpEq), onBridge(expr.MetaKeyIIFNAME, expr.CmpOpNeq)...)
	c.AddRule(&nftables.Rule{Table: table, Chain: forward, Exprs: slices.Concat(to, answers())})
	c.AddRule(&nftables.Rule{Table: table, Chain: forward, Exprs: slices.Concat(to, verdict(expr.VerdictDrop))})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("set packet rules: %w; the kernel needs nf_tables with NAT, else use --network host or none", err)
	}
	return passForward(c)
}

// passForward lets our bridge's packets through the chains of others that drop what
// is forwarded unless they know it, as dockerd's does. What accepts a packet in one
// table does not in the next, so ours cannot; what may come in, ours decides. The
// rules are such as iptables-nft shows, since it may be its chain.
func passForward(c *nftables.Conn) error {
	chains, err := c.ListChains()
	if err != nil {
		return fmt.Errorf("list packet rules: %w", err)
	}
	for _, chain := range chains {
		if !dropsForwarded(chain) {
			continue
		}
		rules, err := c.GetRules(chain.Table, chain)
		if err != nil {
			return fmt.Errorf("list packet rules: %w", err)
		}
		if slices.ContainsFunc(rules, func(r *nftables.Rule) bool { return bytes.Equal(r.UserData, ourComment()) }) {
			continue
		}
		for _, side := range []expr.MetaKey{expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME} {
			exprs := slices.Concat(onBridge(side, expr.CmpOpEq), verdict(expr.VerdictAccept))
			c.InsertRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: exprs, UserData: ourComment()})
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("pass the rules of others: %w", err)
	}
	return nil
}

// ourComment marks the rules that are ours in chains of others.
func ourComment() []byte { return userdata.AppendString(nil, userdata.TypeComment, "hod") }

func dropsForwarded(c *nftables.Chain) bool {
	family := c.Table.Family == nftables.TableFamilyIPv4 || c.Table.Family == nftables.TableFamilyINet
	return family && c.Table.Name != rulesTable && c.Type == nftables.ChainTypeFilter &&
		c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward && c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop
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

// toGateway: meta nfproto ipv4 ip saddr @SET ip daddr GATEWAY.
func (b *Bridge) toGateway(from *nftables.Set) []expr.Any {
	gateway := b.Gateway().As4()
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
		&expr.Lookup{SourceRegister: 1, SetName: from.Name, SetID: from.ID},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: gateway[:]},
	}
}

// letToHost lets an address reach the bridge's own, or no more.
func letToHost(ip netip.Addr, let bool) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("set packet rules: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: rulesTable}
	change := c.SetDeleteElements
	if let {
		change = c.SetAddElements
	}
	key := ip.As4()
	err = change(&nftables.Set{Table: table, Name: hostSet, KeyType: nftables.TypeIPAddr}, []nftables.SetElement{{Key: key[:]}})
	if err == nil {
		err = c.Flush()
	}
	if err != nil && (let || !errors.Is(err, unix.ENOENT)) { // somebody may have taken all rules away
		return fmt.Errorf("let %s reach the host: %w", ip, err)
	}
	return nil
}

// onBridge compares the interface that a packet comes from or goes to with the bridge.
func onBridge(side expr.MetaKey, op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: side, Register: 1},
		&expr.Cmp{Op: op, Register: 1, Data: interfaceName(Name)},
	}
}

func verdict(kind expr.VerdictKind) []expr.Any {
	return []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: kind}}
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
