package layers

import (
	"context"
	"sync"
	"testing"
	"time"
)

// TestDeletersGetTheirTurn has so many that store manifests in a repository that
// there is always one at it: who wants to be alone is let in all the same, several
// times, and they go on afterwards.
func TestDeletersGetTheirTurn(t *testing.T) {
	s := testStore(t)
	blob := mustPut(t, s, "", []byte("a layer"))
	if err := s.LinkBlob("team/app", blob.Digest); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	done := make(chan struct{})
	var pushers sync.WaitGroup
	var inside sync.RWMutex // what the lock of the repository is to be
	for range 16 {
		pushers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				unlock, err := s.LockRepository(ctx, "team/app", false)
				if err != nil {
					return
				}
				if !inside.TryRLock() {
					t.Error("a manifest is stored while somebody is alone")
				} else {
					time.Sleep(3 * time.Millisecond)
					inside.RUnlock()
				}
				if err := unlock(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 3 {
		unlock, err := s.LockRepository(ctx, "team/app", true)
		if err != nil {
			t.Error(err)
			break
		}
		if !inside.TryLock() {
			t.Error("not alone")
		} else {
			inside.Unlock()
		}
		if err := unlock(); err != nil {
			t.Error(err)
		}
	}
	close(done)
	pushers.Wait()
}
