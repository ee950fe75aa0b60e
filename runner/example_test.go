//go:build linux

package runner_test

import (
	"fmt"
	"log"

	"github.com/hodbuild/hod/runner"
)

// What a container will be is data, an OCI runtime specification, before anything
// is done: made of what the image says and of what the caller asks.
func ExampleSpec() {
	image, err := runner.ParseConfig([]byte(`{"config": {"Entrypoint": ["/bin/greet"], "Cmd": ["world"], "Env": ["LANG=C.UTF-8"], "WorkingDir": "/srv"}}`))
	if err != nil {
		log.Fatal(err)
	}
	spec, err := runner.Spec(image, runner.ContainerOptions{Args: []string{"moon"}, Hostname: "earth", ReadOnly: true})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(spec.Process.Args, "in", spec.Process.Cwd, "on", spec.Hostname)
	fmt.Println("root read-only:", spec.Root.Readonly)
	fmt.Println("no new privileges:", spec.Process.NoNewPrivileges)
	// Output:
	// [/bin/greet moon] in /srv on earth
	// root read-only: true
	// no new privileges: true
}
