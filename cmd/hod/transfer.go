package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry"
	"github.com/urfave/cli/v2"
)

// transfer is a client whose steps are told on stderr, a line when a blob begins
// and one when it is done.
type transfer struct {
	client *registry.Client
	c      *cli.Context

	mu   sync.Mutex // guards said
	said map[string]string
}

func newTransfer(c *cli.Context) *transfer {
	t := &transfer{c: c, said: map[string]string{}}
	o := registry.Options{PlainHTTP: c.StringSlice("plain-http")}
	if !c.Bool("quiet") {
		o.Progress = t.event
	}
	t.client = registry.New(o)
	return t
}

// words are what a person reads for an action.
var words = map[string]string{
	"download": "Downloading", "upload": "Pushing", "exists": "Already exists", "unpack": "Extracting", "done": "Done",
}

func (t *transfer) event(e registry.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.said[e.ID] == e.Action {
		return
	}
	t.said[e.ID] = e.Action
	word := words[e.Action]
	if e.Action == "download" || e.Action == "upload" {
		word += " " + humanSize(e.Total)
	}
	fmt.Fprintf(t.c.App.ErrWriter, "%s: %s\n", shortID(e.ID), word)
}

// registryHint says what to do about the usual refusals.
func registryHint(err error, n layers.Name) error {
	var status *registry.StatusError
	switch {
	case errors.As(err, &status) && (status.Status == http.StatusUnauthorized || status.Status == http.StatusForbidden):
		return withHint(err, "hod login "+n.Registry)
	case errors.As(err, &status) && status.Status == http.StatusNotFound:
		return withHint(err, "hod tags "+n.FamiliarRepository()+" lists what is there")
	case errors.Is(err, registry.ErrUnreachable):
		return withHint(err, "check the host's name and port; --plain-http "+n.Registry+" speaks to it without TLS")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return withHint(err, "try again: what was received is kept")
	}
	return err
}

// shortID is the first digits of a digest, as people compare them.
func shortID(d string) string {
	_, hex, _ := strings.Cut(d, ":")
	return hex[:min(len(hex), 12)]
}
