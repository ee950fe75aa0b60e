// Package network connects a container's network namespace with the world.
//
// A private network is a bridge on the host, one pair of virtual Ethernet
// devices per container, an address from the bridge's subnet, and rules that
// translate what leaves the machine and drop what is meant for the machine
// itself: a container reaches out, but neither the host's loopback nor its
// services.
//
// Nothing here needs a daemon. An address belongs to whoever holds the lock of
// its file; the kernel lets go of the lock when the holder dies, and of the
// devices when the namespace does. Published ports are listened on by the
// container's own monitor, which carries the bytes: so publishing on 127.0.0.1
// needs no tricks with routing, and ends with the monitor.
//
//	n, err := network.Open(dir)             // finds or makes bridge and rules
//	e, err := n.Connect(ns)                 // device, address, route inside ns
//	p, err := network.Publish(ports, e.IP)  // listens
//	…
//	p.Close(); e.Close()
package network
