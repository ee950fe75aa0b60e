package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry/server"
	"github.com/urfave/cli/v2"
)

func serveCommand() *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "Serve the store as a registry",
		Description: "SIGHUP has the certificate, the users and the rules read again, for the\n" +
			"connections and requests that follow; where one of the files is wrong, all\n" +
			"stays as it was.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "addr", Value: "127.0.0.1:5000", Usage: "listen on this address and port"},
			&cli.BoolFlag{Name: "store", Usage: "show the images of the store, too, by their names"},
			&cli.BoolFlag{Name: "read-only", Usage: "refuse pushes and deletes"},
			&cli.BoolFlag{Name: "no-delete", Usage: "refuse deletes"},
			&cli.BoolFlag{Name: "sparse", Usage: "accept manifests whose layers were not pushed"},
			&cli.StringFlag{Name: "htpasswd", Usage: "file of users with bcrypt hashes (htpasswd -B)"},
			&cli.BoolFlag{Name: "anonymous-read", Usage: "with --htpasswd: everybody may pull"},
			&cli.StringFlag{Name: "access", Usage: "with --htpasswd: file of rules, REPOSITORY WHO RIGHTS a line"},
			&cli.StringFlag{Name: "tls-cert", Usage: "certificate file; needs --tls-key"},
			&cli.StringFlag{Name: "tls-key", Usage: "key file of the certificate"},
			&cli.StringFlag{Name: "url", Usage: "where clients reach the server, if a proxy stands before it"},
			&cli.StringSliceFlag{Name: "host", Usage: "name by which a server on loopback may be called besides localhost"},
			&cli.StringFlag{Name: "metrics", Usage: "serve /metrics and /healthz on this address, without a password"},
			&cli.StringFlag{Name: "max-blob", Usage: "the largest blob that is accepted", Value: "64g"},
			&cli.DurationFlag{Name: "gc-interval", Value: time.Hour, Usage: "how often to give back what no repository needs; 0 is never"},
			&cli.DurationFlag{Name: "gc-grace", Value: 24 * time.Hour, Usage: "how long abandoned uploads and unnamed blobs are kept"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "write no access log"},
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0); err != nil {
				return err
			}
			// A server runs for long: what it looked at an hour ago it no longer keeps from hod prune.
			s, err := layers.Open(storeRoot(c), layers.Options{HoldFor: max(min(c.Duration("gc-grace"), time.Hour), time.Second)})
			if err != nil {
				return err
			}
			return errors.Join(serve(c, s), s.Close())
		},
	}
}

func serve(c *cli.Context, s *layers.Store) error {
	o, err := serveOptions(c)
	if err != nil {
		return err
	}
	cert, err := certificateOf(c)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", c.String("addr"))
	if err != nil {
		return listenHint(fmt.Errorf("serve: %w", err))
	}
	warning := ""
	if tcp, ok := l.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		warning = exposed(o, cert != nil)
	} else if o.Auth == nil {
		o.Hosts = append(c.StringSlice("host"), "localhost")
		if at, err := url.Parse(o.URL); err == nil && at.Host != "" {
			o.Hosts = append(o.Hosts, at.Hostname())
		}
	}
	handler := server.New(s, o)
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel()
	failed := make(chan error, 2)
	if addr := c.String("metrics"); addr != "" {
		m, err := net.Listen("tcp", addr)
		if err != nil {
			l.Close()
			return listenHint(fmt.Errorf("serve metrics: %w", err))
		}
		defer m.Close()
		fmt.Fprintf(c.App.ErrWriter, "metrics at http://%s/metrics\n", m.Addr())
		go func() { failed <- httpServer(handler.Metrics()).Serve(m) }()
	}
	if cert != nil || o.Auth != nil {
		hup := make(chan os.Signal, 1)
		signal.Notify(hup, syscall.SIGHUP)
		defer func() { signal.Stop(hup); close(hup) }()
		go readAgain(c, hup, handler, cert)
	}
	fmt.Fprintf(c.App.ErrWriter, "serving %s on %s\n%s", s.Root(), l.Addr(), warning)
	srv := httpServer(handler)
	go func() { failed <- listen(srv, l, cert) }()
	if every := c.Duration("gc-interval"); every > 0 && !o.ReadOnly {
		go handler.CollectEvery(ctx, every, c.Duration("gc-grace"))
	}
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	return stopServing(context.WithoutCancel(ctx), srv)
}

// stopServing gives requests that run some time to end.
func stopServing(ctx context.Context, srv *http.Server) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return srv.Close() // what still goes on can be resumed
}

// listenHint says what an address can be where one cannot be listened on.
func listenHint(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return withHint(err, "ports below 1024 are root's: choose one above")
	case errors.Is(err, syscall.EADDRINUSE):
		return err
	}
	return withHint(err, "an address is HOST:PORT, such as 127.0.0.1:5000, or :5000 for every network")
}

func httpServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: log.New(io.Discard, "", 0)}
}

// exposed says what is dangerous about a server that others than this machine reach.
func exposed(o server.Options, secure bool) string {
	switch {
	case o.Auth == nil && !o.ReadOnly:
		return "warning: whoever reaches this address may read, write and delete; --htpasswd FILE asks for passwords, --read-only lets nobody write\n"
	case o.Auth != nil && !secure && o.URL == "":
		return "warning: passwords and images cross the network in plain text; --tls-cert and --tls-key encrypt, --url names the proxy that does\n"
	}
	return ""
}

func listen(srv *http.Server, l net.Listener, cert *certificate) error {
	if cert == nil {
		return srv.Serve(l)
	}
	srv.TLSConfig = &tls.Config{GetCertificate: cert.get}
	return srv.ServeTLS(l, "", "")
}

func serveOptions(c *cli.Context) (server.Options, error) {
	o := server.Options{ReadOnly: c.Bool("read-only"), NoDelete: c.Bool("no-delete"), Sparse: c.Bool("sparse"), Local: c.Bool("store"), URL: c.String("url")}
	var err error
	if o.MaxBlob, err = parseBytes(c.String("max-blob")); err != nil {
		return o, fmt.Errorf("serve: --max-blob: %w", err)
	}
	if !c.Bool("quiet") {
		o.Log = log.New(c.App.ErrWriter, "", log.LstdFlags|log.LUTC)
	}
	if (c.String("tls-cert") == "") != (c.String("tls-key") == "") {
		return o, withHint(errors.New("serve: --tls-cert and --tls-key go together"), "give both files")
	}
	if at, err := url.Parse(o.URL); o.URL != "" && (err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https") {
		return o, withHint(fmt.Errorf("serve: --url %q is not the address of a registry", o.URL), "https://HOST or https://HOST:PORT")
	}
	if c.Duration("gc-grace") < 0 || c.Duration("gc-interval") < 0 {
		return o, errors.New("serve: a time must not be negative")
	}
	return o, serveAuth(c, &o)
}

// serveAuth reads the users and rules, and refuses flags that would mean nothing.
func serveAuth(c *cli.Context, o *server.Options) error {
	path := c.String("htpasswd")
	for _, flag := range []string{"anonymous-read", "access"} {
		if path == "" && c.IsSet(flag) {
			return withHint(fmt.Errorf("serve: --%s without --htpasswd", flag), "without users everybody may read and write")
		}
	}
	if path == "" {
		return nil
	}
	if c.IsSet("anonymous-read") && c.IsSet("access") {
		return withHint(errors.New("serve: --anonymous-read and --access"), "a rule '** * pull' lets everybody pull")
	}
	err := readFile(path, func(f io.Reader) (err error) {
		o.Auth, err = server.ReadHtpasswd(f)
		return err
	})
	if err != nil {
		return err
	}
	o.Auth.AnonymousRead = c.Bool("anonymous-read")
	if path = c.String("access"); path == "" {
		return nil
	}
	return readFile(path, func(f io.Reader) (err error) {
		o.Auth.Access, err = server.ReadAccess(f)
		return err
	})
}

// readFile opens a file and lets fn read it.
func readFile(path string, fn func(io.Reader) error) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	defer f.Close()
	if err := fn(f); err != nil {
		return fmt.Errorf("serve: %s: %w", path, err)
	}
	return nil
}
