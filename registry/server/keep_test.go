package server

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
)

// TestReadOnlyAndHealth: what writes is refused, what reads is served.
func TestReadOnlyAndHealth(t *testing.T) {
	store := openStore(t)
	fillRepo(t, New(store, Options{}), "", "app", "x")
	s := New(store, Options{ReadOnly: true})
	for _, row := range []struct {
		method, path string
		want         int
	}{{"GET", "/v2/app/manifests/v1", 200}, {"DELETE", "/v2/app/manifests/v1", 405}, {"POST", "/v2/app/blobs/uploads/", 405}, {"GET", "/healthz", 200}} {
		if w := ask(s, "", row.method, row.path, nil); w.Code != row.want {
			t.Errorf("%s %s: %d", row.method, row.path, w.Code)
		}
	}
}

// TestCollectWhileServing pushes and pulls from many sides while collections run
// without a grace to speak of (G18): what was acknowledged stays, each answer is
// what its digest says; and what nothing names goes.
func TestCollectWhileServing(t *testing.T) {
	store := openStore(t)
	s := New(store, Options{})
	stray := []byte("nobody names me")
	d := digest.FromBytes(stray)
	ask(s, "", "POST", "/v2/app/blobs/uploads/?digest="+string(d), stray)
	abandoned := ask(s, "", "POST", "/v2/app/blobs/uploads/", nil).Header().Get("Location")
	kept, manifest := fillRepo(t, s, "", "app", "kept")
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		for ctx.Err() == nil {
			if err := s.Collect(context.Background(), time.Second); err != nil {
				t.Error(err)
			}
		}
	})
	var pushers sync.WaitGroup
	for i := range 4 {
		pushers.Go(func() {
			for j := range 15 {
				repo := fmt.Sprintf("r%d", (i+j)%3)
				text := fmt.Sprintf("layer %d of %d", j%5, i)
				blob, _ := fillRepo(t, s, "", repo, text)
				if w := ask(s, "", "GET", "/v2/"+repo+"/blobs/"+string(blob), nil); w.Code != 200 || w.Body.String() != text {
					t.Errorf("acknowledged, and then %d %q", w.Code, w.Body)
				}
			}
		})
	}
	pushers.Wait()
	for range 100 { // the grace and the lease are a second
		if !store.HasLink("app", d) && ask(s, "", "GET", abandoned, nil).Code == 404 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	stop()
	all.Wait()
	if store.HasLink("app", d) {
		t.Error("a blob that no manifest names is still linked")
	}
	if w := ask(s, "", "GET", abandoned, nil); w.Code != 404 {
		t.Errorf("an abandoned upload: %d", w.Code)
	}
	for path, text := range map[string]string{"/v2/app/blobs/" + string(kept): "kept", "/v2/app/manifests/" + string(manifest): ""} {
		if w := ask(s, "", "GET", path, nil); w.Code != 200 || text != "" && w.Body.String() != text {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if text := s.count.text(); !strings.Contains(text, "hod_registry_collections_total") || strings.Contains(text, "hod_registry_collections_total 0\n") {
		t.Errorf("metrics: %s", text)
	}
}

// TestReopenedStoreServes: what one server acknowledged another serves.
func TestReopenedStoreServes(t *testing.T) {
	root := filepath.Join(t.TempDir(), "store")
	first, err := layers.Open(root, layers.Options{})
	if err != nil {
		t.Fatal(err)
	}
	blob, _ := fillRepo(t, New(first, Options{}), "", "app", "x")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := layers.Open(root, layers.Options{BootID: "another-boot"})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if w := ask(New(second, Options{}), "", "GET", "/v2/app/blobs/"+string(blob), nil); w.Code != 200 || w.Body.String() != "x" {
		t.Errorf("after another boot: %d", w.Code)
	}
}

// client is one of many: it alone writes its tag, and knows what it was told.
type client struct {
	s         *Server
	repo, tag string
	rnd       *rand.Rand
	want      digest.Digest // of the manifest that was acknowledged last; empty if deleted
}

// push makes an image the client's tag, as a manifest of one layer. A collection may
// take what it sent before the manifest came; then nothing was acknowledged.
func (c *client) push(t *testing.T, n int) {
	text := fmt.Appendf(nil, "layer %d of %s %s", n%3, c.repo, c.tag) // some come again
	config := fmt.Appendf(nil, `{"n":%d,"who":%q}`, n, c.tag)
	var ds []digest.Digest
	for _, b := range [][]byte{config, text} {
		d := digest.FromBytes(b)
		if w := ask(c.s, "", "POST", "/v2/"+c.repo+"/blobs/uploads/?digest="+string(d), b); w.Code != 201 {
			t.Errorf("push a blob: %d %s", w.Code, w.Body)
			return
		}
		ds = append(ds, d)
	}
	raw := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},`+
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]}`, ds[0], len(config), ds[1], len(text))
	w := ask(c.s, "", "PUT", "/v2/"+c.repo+"/manifests/"+c.tag, raw, "Content-Type", "application/vnd.oci.image.manifest.v1+json")
	if w.Code == 201 {
		c.want = digest.FromBytes(raw)
	} else if w.Code != 404 {
		t.Errorf("push a manifest: %d %s", w.Code, w.Body)
	}
}

// pull checks that the tag is what was acknowledged, and each blob what it is called.
func (c *client) pull(t *testing.T) {
	w := ask(c.s, "", "GET", "/v2/"+c.repo+"/manifests/"+c.tag, nil)
	if c.want == "" {
		if w.Code != 404 {
			t.Errorf("what was deleted is there: %d", w.Code)
		}
		return
	}
	if got := digest.FromBytes(w.Body.Bytes()); w.Code != 200 || got != c.want {
		t.Errorf("%s:%s is %d %s, acknowledged was %s", c.repo, c.tag, w.Code, got, c.want)
		return
	}
	m, err := layers.ParseManifest("", w.Body.Bytes())
	if err != nil {
		t.Error(err)
		return
	}
	for _, d := range []digest.Digest{m.Config.Digest, m.Layers[0].Digest} {
		if w := ask(c.s, "", "GET", "/v2/"+c.repo+"/blobs/"+string(d), nil); w.Code != 200 || digest.FromBytes(w.Body.Bytes()) != d {
			t.Errorf("blob %s of what was acknowledged: %d %q", d, w.Code, w.Body)
		}
	}
}

func (c *client) remove(t *testing.T) {
	if c.want == "" {
		return
	}
	if w := ask(c.s, "", "DELETE", "/v2/"+c.repo+"/manifests/"+string(c.want), nil); w.Code != 202 {
		t.Errorf("delete: %d %s", w.Code, w.Body)
	}
	c.want = ""
}

// TestManyClients has fifty clients that push, pull and delete in a few repositories
// while collections run (G18): each tag is what its client was told last, each
// answer hashes to its digest, and what was acknowledged is whole. HOD_TEST_FULL
// makes it long.
func TestManyClients(t *testing.T) {
	s := New(openStore(t), Options{})
	steps := 12
	if os.Getenv("HOD_TEST_FULL") != "" {
		steps = 1000
	}
	ctx, stop := context.WithCancel(context.Background())
	var collector, clients sync.WaitGroup
	collector.Go(func() {
		for ctx.Err() == nil {
			if err := s.Collect(context.Background(), 2*time.Second); err != nil {
				t.Error(err)
			}
		}
	})
	for i := range 50 {
		clients.Go(func() {
			c := &client{s: s, repo: fmt.Sprintf("team/r%d", i%7), tag: fmt.Sprintf("t%d", i), rnd: rand.New(rand.NewPCG(uint64(i), 1))}
			for n := range steps {
				switch c.rnd.IntN(5) {
				case 0, 1:
					c.push(t, n)
				case 2:
					c.remove(t)
				}
				c.pull(t)
			}
		})
	}
	clients.Wait()
	stop()
	collector.Wait()
}
