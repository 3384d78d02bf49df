// Package capture owns how connections come to the proxy and where they were going: the nftables rules
// that turn a pod's TCP connections aside, and the question to the kernel for a connection's original
// destination. It talks to the kernel over netlink, with no external program. It knows nothing of
// services, revisions or what is done with a connection.
//
// The rules are one table of family inet, so IPv4 and IPv6 change in one atomic batch and a node without
// IPv6 needs no second way. Every installation replaces the table as a whole: running twice is running
// once.
//
//	output:     what leaves by the loopback device, by the proxy's uid or gid, or to the proxy's own
//	            ports goes its way; other TCP goes to the outbound port
//	prerouting: what comes from the node (the kubelet's probes) or goes to the proxy's own ports goes its
//	            way; other TCP goes to the inbound port
package capture

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// TableName is the name of the nftables table, family inet.
const TableName = "sluice"

// Rules say what is turned aside. The zero value is not useful; see Defaults.
type Rules struct {
	// Outbound and Inbound are the proxy's ports.
	Outbound, Inbound uint16
	// UID and GID that the proxy runs as: what either of them sends is never captured.
	UID, GID uint32
	// FirstExempt and LastExempt bound the ports that are never captured, in either direction.
	FirstExempt, LastExempt uint16
	// Node lists addresses whose connections to the pod are left alone, because the kubelet probes from
	// them: a probe that a proxy answers says nothing about the application.
	Node []netip.Addr
}

// Defaults returns the rules of Sluice's own numbers, without node addresses.
func Defaults() Rules {
	return Rules{
		Outbound: 15001, Inbound: 15006,
		UID: 15099, GID: 15099,
		FirstExempt: 15000, LastExempt: 15099,
	}
}

// Install puts the rules into the calling thread's network namespace in one batch, in place of those of
// an earlier Install. It either takes effect as a whole or not at all. Its error names the remedy where
// there is one.
func Install(r Rules) error {
	conn, err := nftables.New()
	if err != nil {
		return explain(fmt.Errorf("open netlink: %w", err))
	}
	table := &nftables.Table{Name: TableName, Family: nftables.TableFamilyINet}
	// Adding before deleting makes the deletion succeed the first time as well.
	conn.AddTable(table)
	conn.DelTable(table)
	conn.AddTable(table)
	for _, c := range r.chains() {
		chain := conn.AddChain(&nftables.Chain{
			Name: c.name, Table: table, Type: nftables.ChainTypeNAT,
			Hooknum: c.hook, Priority: nftables.ChainPriorityNATDest,
		})
		for _, exprs := range c.rules {
			conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs})
		}
	}
	if err := conn.Flush(); err != nil {
		return explain(fmt.Errorf("install nftables rules: %w", err))
	}
	return nil
}

type chain struct {
	name  string
	hook  *nftables.ChainHook
	rules [][]expr.Any
}

func (r Rules) chains() []chain {
	output := chain{name: "output", hook: nftables.ChainHookOutput, rules: [][]expr.Any{
		// The pod talking to itself, by 127.0.0.0/8, ::1 or its own address.
		append(cmp(expr.MetaKeyOIFNAME, ifname("lo")), accept()),
		append(cmp(expr.MetaKeySKUID, binaryutil.NativeEndian.PutUint32(r.UID)), accept()),
		append(cmp(expr.MetaKeySKGID, binaryutil.NativeEndian.PutUint32(r.GID)), accept()),
		r.ownPorts(),
		redirect(r.Outbound),
	}}
	prerouting := chain{name: "prerouting", hook: nftables.ChainHookPrerouting}
	prerouting.rules = append(prerouting.rules,
		append(cmp(expr.MetaKeyIIFNAME, ifname("lo")), accept()),
		r.ownPorts())
	for _, addr := range r.Node {
		prerouting.rules = append(prerouting.rules, from(addr))
	}
	prerouting.rules = append(prerouting.rules, redirect(r.Inbound))
	return []chain{output, prerouting}
}

func (r Rules) ownPorts() []expr.Any {
	return append(tcp(),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Range{Op: expr.CmpOpEq, Register: 1,
			FromData: binaryutil.BigEndian.PutUint16(r.FirstExempt),
			ToData:   binaryutil.BigEndian.PutUint16(r.LastExempt)},
		accept())
}

func redirect(port uint16) []expr.Any {
	return append(tcp(),
		&expr.Immediate{Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.Redir{RegisterProtoMin: 1, RegisterProtoMax: 1, Flags: unix.NF_NAT_RANGE_PROTO_SPECIFIED})
}

func from(addr netip.Addr) []expr.Any {
	addr = addr.Unmap()
	family, offset, length := byte(unix.NFPROTO_IPV4), uint32(12), uint32(4)
	if addr.Is6() {
		family, offset, length = unix.NFPROTO_IPV6, 8, 16
	}
	return append(cmp(expr.MetaKeyNFPROTO, []byte{family}),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: addr.AsSlice()},
		accept())
}

func tcp() []expr.Any { return cmp(expr.MetaKeyL4PROTO, []byte{unix.IPPROTO_TCP}) }

func cmp(key expr.MetaKey, value []byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value},
	}
}

func accept() expr.Any { return &expr.Verdict{Kind: expr.VerdictAccept} }

func ifname(name string) []byte {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return padded
}

// explain adds what a person can do about a refusal of the kernel.
func explain(err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: this needs the capability NET_ADMIN in the pod's network namespace; add it to the "+
			"container's securityContext.capabilities.add, and let the namespace's Pod Security level be "+
			"\"privileged\" (baseline and restricted forbid NET_ADMIN)", err)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT),
		errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%w: the node's kernel lacks nftables NAT for family inet (Linux 5.2 or later with "+
			"nf_tables, nft_chain_nat and nft_redir); load those modules on the node", err)
	}
	return err
}
