package builder

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
)

// files is a server of one file with an ETag, which counts.
type files struct {
	text        atomic.Pointer[string]
	asked, sent atomic.Int32
}

func (f *files) set(text string) { f.text.Store(&text) }

func (f *files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.asked.Add(1)
	text := *f.text.Load()
	tag := `"` + digest.FromString(text).Encoded() + `"`
	w.Header().Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	f.sent.Add(1)
	w.Write([]byte(text))
}

func (f *files) expect(t *testing.T, when string, asked, sent int32) {
	t.Helper()
	if a, s := f.asked.Swap(0), f.sent.Swap(0); a != asked || s != sent {
		t.Errorf("%s: asked %d times and sent %d files, want %d and %d", when, a, s, asked, sent)
	}
}

// A file that the server says to be what it was is not sent again, unless its content is needed.
func TestDownloadsAreAskedFor(t *testing.T) {
	var f files
	f.set("one")
	server := httptest.NewServer(&f)
	defer server.Close()
	w := newWorld(t, map[string]string{"Dockerfile": "FROM scratch\nADD " + server.URL + "/f /f\n"})
	first := w.must(Options{})
	f.expect(t, "first build", 1, 1)
	if again := w.must(Options{}); again.Images[0].ID != first.Images[0].ID {
		t.Error("the second build gave another image")
	}
	f.expect(t, "second build", 1, 0)
	if again := w.must(Options{NoCache: true}); again.Images[0].ID != first.Images[0].ID {
		t.Error("the build without cache gave another image")
	}
	f.expect(t, "build without cache", 2, 1)
	f.set("two")
	if changed := w.must(Options{}); changed.Images[0].ID == first.Images[0].ID {
		t.Error("the changed file gave the same image")
	}
	f.expect(t, "changed file", 1, 1)
}

// A file whose checksum the recipe says needs no server when the step is remembered.
func TestChecksumNeedsNoServer(t *testing.T) {
	var f files
	f.set("one")
	server := httptest.NewServer(&f)
	sum := digest.FromString("one").String()
	w := newWorld(t, map[string]string{"Dockerfile": "FROM scratch\nADD --checksum=" + sum + " " + server.URL + "/f /f\nADD --checksum=" + sum + " " + server.URL + "/f /g\n"})
	first := w.must(Options{})
	f.expect(t, "first build", 1, 1)
	server.Close()
	if again := w.must(Options{}); again.Images[0].ID != first.Images[0].ID {
		t.Error("the second build gave another image")
	}
	if _, err := w.build(Options{NoCache: true}); err == nil {
		t.Error("a build without cache had the file from nowhere")
	}
	if v, err := w.store.View(t.Context(), first.Images[0].Chain); err != nil {
		t.Fatal(err)
	} else if _, err := v.Lstat("g"); err != nil {
		t.Error(err)
	}
}
