package bed

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// Far is a network namespace behind a slow link.
type Far struct {
	Name    string // of the namespace, for ip netns exec
	Address string // of its end of the link
}

// MakeFar joins a new network namespace by a link of that many megabits per
// second in each direction.
func MakeFar(megabits int) (*Far, error) {
	f := &Far{Name: "hod-bench-far", Address: "10.99.0.2"}
	rate := fmt.Sprintf("rate %dmbit burst 64kb latency 200ms", megabits)
	for _, line := range []string{
		"mount -t tmpfs bench /run/netns",
		"ip netns add " + f.Name,
		"ip link add far0 type veth peer name far1 netns " + f.Name,
		"ip addr add 10.99.0.1/24 dev far0",
		"ip link set far0 up",
		"ip netns exec " + f.Name + " ip addr add " + f.Address + "/24 dev far1",
		"ip netns exec " + f.Name + " ip link set far1 up",
		"ip netns exec " + f.Name + " ip link set lo up",
		"tc qdisc add dev far0 root tbf " + rate,
		"ip netns exec " + f.Name + " tc qdisc add dev far1 root tbf " + rate,
	} {
		argv := strings.Fields(line)
		if argv[0] == "mount" {
			_ = exec.Command("mkdir", "-p", "/run/netns").Run()
		}
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", line, err, out)
		}
	}
	return f, nil
}

// Relay listens on a loopback address and passes connections on to another,
// each byte later by half of the round trip, in each direction. It ends with
// the process.
func Relay(listen, to string, roundTrip time.Duration) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go relay(c, to, roundTrip/2)
		}
	}()
	return nil
}

func relay(near net.Conn, to string, late time.Duration) {
	defer near.Close()
	time.Sleep(2 * late) // the handshake, which the kernel has answered at once
	far, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer far.Close()
	var both sync.WaitGroup
	both.Go(func() { delay(far, near, late) })
	both.Go(func() { delay(near, far, late) })
	both.Wait()
}

// parcel is bytes and when they arrive.
type parcel struct {
	b    []byte
	when time.Time
}

// delay copies; what was read is written that much later. Its queue holds what
// is under way on a link of this length and no more.
func delay(w, r net.Conn, late time.Duration) {
	queue := make(chan parcel, 64)
	go func() {
		defer close(queue)
		for {
			b := make([]byte, 16<<10)
			n, err := r.Read(b)
			if n > 0 {
				queue <- parcel{b[:n], time.Now().Add(late)}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range queue {
		time.Sleep(time.Until(p.when))
		if _, err := w.Write(p.b); err != nil {
			r.Close()
			break
		}
	}
	for range queue { // its reader ends too
	}
	if c, ok := w.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
}
