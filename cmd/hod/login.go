package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// maxPassword bounds what is read as a password.
const maxPassword = 64 << 10

func loginCommand() *cli.Command {
	return &cli.Command{
		Name:      "login",
		Usage:     "Save a credential for a registry",
		ArgsUsage: "[REGISTRY[/FOLDER]]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "username", Aliases: []string{"u"}, Usage: "user name"},
			&cli.StringFlag{Name: "password", Aliases: []string{"p"}, Usage: "password (others may see it: prefer --password-stdin)"},
			&cli.BoolFlag{Name: "password-stdin", Usage: "read the password from standard input"},
			plainHTTP(),
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 1); err != nil {
				return err
			}
			return login(c, newClient(c), registryOf(c))
		},
	}
}

// login logs in to a registry, with what is kept for it already if nothing is given
// and that is right.
func login(c *cli.Context, client *registry.Client, at string) error {
	if !c.IsSet("username") && !c.IsSet("password") && !c.Bool("password-stdin") {
		if user, err := client.LoggedIn(c.Context, at); err != nil || user != "" {
			return welcome(c, err, fmt.Sprintf("as %s, with the password that is kept", user))
		}
	}
	user, password, err := credential(c)
	if err != nil {
		return err
	}
	kept, err := client.Login(c.Context, at, user, password)
	note := "the password is in " + kept.Where + ", not encrypted"
	if strings.HasPrefix(kept.Where, "credential helper") {
		note = "the password is kept by " + kept.Where
	}
	if kept.Unasked {
		note += "\nnobody looked at it: " + at + " lets in whoever comes, without a login"
	}
	return welcome(c, err, note)
}

// welcome says that a login worked, and on standard error what else is to know.
func welcome(c *cli.Context, err error, note string) error {
	if err != nil {
		return err
	}
	if _, err = fmt.Fprintln(c.App.Writer, "Login Succeeded"); err == nil {
		_, err = fmt.Fprintln(c.App.ErrWriter, note)
	}
	return err
}

// registryOf is the registry, or the folder of its repositories, that is logged in
// to. Of an address only the host counts.
func registryOf(c *cli.Context) string {
	at := c.Args().First()
	for _, scheme := range []string{"https://", "http://"} {
		if rest, ok := strings.CutPrefix(at, scheme); ok {
			at, _, _ = strings.Cut(rest, "/")
		}
	}
	at = strings.TrimSuffix(strings.TrimSuffix(strings.TrimRight(at, "/"), "/v1"), "/v2")
	if at == "" || at == "index.docker.io" {
		return layers.DefaultRegistry
	}
	return at
}

// credential takes user and password from flags, standard input or the terminal.
func credential(c *cli.Context) (user, password string, err error) {
	user, password = c.String("username"), c.String("password")
	if c.Bool("password-stdin") {
		if user == "" {
			return "", "", withHint(errors.New("login: --password-stdin without a user name"), "add -u USER")
		}
		raw, err := io.ReadAll(io.LimitReader(c.App.Reader, maxPassword))
		if err != nil {
			return "", "", fmt.Errorf("read the password: %w", err)
		}
		password = strings.TrimRight(string(raw), "\r\n")
	} else {
		if user == "" {
			user, err = ask(c, "Username: ", true)
		}
		if password == "" && err == nil {
			password, err = ask(c, "Password: ", false)
		}
	}
	if err == nil && (user == "" || password == "") {
		err = errors.New("login: the user name or the password is empty")
	}
	return user, password, err
}

// ask reads a line from the terminal, without showing it where echo is false. Ctrl-C
// ends it; who reads the terminal then ends with the process.
func ask(c *cli.Context, prompt string, echo bool) (string, error) {
	fd := int(os.Stdin.Fd())
	old, err := unix.IoctlGetTermios(fd, readTermios)
	if err != nil {
		return "", withHint(errors.New("login: standard input is not a terminal"), "hod login -u USER --password-stdin REGISTRY < FILE")
	}
	fmt.Fprint(c.App.ErrWriter, prompt)
	if !echo {
		quiet := *old
		quiet.Lflag &^= unix.ECHO
		if err := unix.IoctlSetTermios(fd, writeTermios, &quiet); err != nil {
			return "", err
		}
		defer func() {
			unix.IoctlSetTermios(fd, writeTermios, old)
			fmt.Fprintln(c.App.ErrWriter)
		}()
	}
	type answer struct {
		line string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		line, err := readLine(os.Stdin)
		got <- answer{line, err}
	}()
	select {
	case a := <-got:
		return a.line, a.err
	case <-c.Context.Done():
		return "", c.Context.Err()
	}
}

// readLine reads to the end of the line and not a byte further.
func readLine(r io.Reader) (string, error) {
	var line []byte
	one := make([]byte, 1)
	for len(line) < maxPassword {
		if _, err := io.ReadFull(r, one); err != nil {
			return "", fmt.Errorf("read from the terminal: %w", err)
		}
		if one[0] == '\n' {
			return strings.TrimRight(string(line), "\r"), nil
		}
		line = append(line, one[0])
	}
	return "", errors.New("the line is too long")
}

func logoutCommand() *cli.Command {
	return &cli.Command{
		Name:      "logout",
		Usage:     "Forget the credential of a registry",
		ArgsUsage: "[REGISTRY[/FOLDER]]",
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 1); err != nil {
				return err
			}
			host := registryOf(c)
			had, err := newClient(c).Logout(c.Context, host)
			if err != nil {
				return err
			}
			if !had {
				_, err = fmt.Fprintf(c.App.Writer, "Not logged in to %s\n", host)
				return err
			}
			_, err = fmt.Fprintf(c.App.Writer, "Removing login credentials for %s\n", host)
			return err
		},
	}
}
