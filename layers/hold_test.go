package layers

import (
	"os"
	"strings"
	"testing"
	"time"
)

// A server's claims end after a while, and its lease does not grow for ever.
func TestHoldForEnds(t *testing.T) {
	root := t.TempDir()
	s, err := Open(root+"/s", Options{HoldFor: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d := mustPut(t, s, "", []byte("served once"))
	other := reopen(t, root+"/s")
	if mustCollect(t, other, CollectOptions{}); !other.exists(d.Digest) {
		t.Fatal("a fresh claim did not hold")
	}
	for until := time.Now().Add(10 * time.Second); other.exists(d.Digest); {
		if time.Now().After(until) {
			t.Fatal("the claim never ended")
		}
		time.Sleep(100 * time.Millisecond)
		mustCollect(t, other, CollectOptions{})
	}
	f := s.lease.lock.File()
	if err := f.Truncate(maxLease + 1); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, "", []byte("another"))
	raw, err := os.ReadFile(f.Name())
	if err != nil || len(raw) > 1000 || !strings.HasPrefix(string(raw), "# ") {
		t.Fatalf("%d bytes, %v", len(raw), err)
	}
	if mustCollect(t, other, CollectOptions{}); !other.exists(descOf("", []byte("another")).Digest) {
		t.Fatal("a claim was lost when the lease was sifted")
	}
}
