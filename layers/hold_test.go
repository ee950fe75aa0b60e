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

// TestClaimsOutliveACollection: what is claimed while a collection runs stays, however
// long that runs after its marking, and however short claims are good.
func TestClaimsOutliveACollection(t *testing.T) {
	s, err := Open(t.TempDir()+"/s", Options{HoldFor: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	other := reopen(t, s.Root())
	c := &collection{s: other, res: &CollectResult{}}
	if err := c.begin(ctx); err != nil {
		t.Fatal(err)
	}
	m, err := c.mark(ctx)
	if err != nil {
		t.Fatal(err)
	}
	d := mustPut(t, s, "", []byte("linked while others mark")).Digest
	if err := s.LinkBlob("app", d); err != nil {
		t.Fatal(err)
	}
	found, err := other.unmarked(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(2100 * time.Millisecond) // a claim is counted in whole seconds
	if err := c.sweep(ctx, found); err != nil {
		t.Fatal(err)
	}
	if !other.exists(d) {
		t.Error("a blob that a repository shows is gone")
	}
}
