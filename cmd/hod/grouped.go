package main

import (
	"maps"
	"slices"

	"github.com/urfave/cli/v2"
)

// grouped are Docker's groups of verbs that hod has without a group: the words
// "container ls" mean ps, with all flags of ps.
var grouped = map[string]map[string][]string{
	"container": {
		"attach": {"attach"}, "commit": {"commit"}, "cp": {"cp"}, "create": {"create"}, "diff": {"diff"}, "exec": {"exec"},
		"export": {"export"}, "inspect": {"inspect", "--type=container"}, "kill": {"kill"}, "list": {"ps"}, "logs": {"logs"}, "ls": {"ps"},
		"pause": {"pause"}, "port": {"port"}, "prune": {"__container-prune"}, "ps": {"ps"}, "remove": {"rm"}, "rename": {"rename"}, "restart": {"restart"}, "rm": {"rm"},
		"run": {"run"}, "start": {"start"}, "stats": {"stats"}, "stop": {"stop"}, "top": {"top"}, "unpause": {"unpause"},
		"update": {"update"}, "wait": {"wait"},
	},
	"image": {
		"build": {"build"}, "history": {"history"}, "import": {"import"}, "inspect": {"inspect", "--type=image"}, "list": {"images"},
		"load": {"load"}, "ls": {"images"}, "prune": {"prune"}, "pull": {"pull"}, "push": {"push"}, "remove": {"rmi"}, "rm": {"rmi"},
		"save": {"save"}, "tag": {"tag"},
	},
	"system":  {"df": {"df"}, "events": {"events"}, "info": {"info"}, "prune": {"prune", "--containers", "--cache"}},
	"builder": {"build": {"build"}, "prune": {"prune", "--cache"}},
	"buildx":  {"build": {"build"}, "du": {"df"}, "prune": {"prune", "--cache"}},
}

// elsewhere is what to do instead of Docker's verbs that hod has not.
var elsewhere = map[string]string{
	"network":    "there are no named networks: --network takes private, none, host and container:NAME",
	"compose":    "hod starts containers one by one: --network container:NAME lets them meet on localhost",
	"context":    "there is no daemon to choose: --root FOLDER chooses a store",
	"search":     "hod catalog HOST lists a registry's repositories, hod tags NAME their tags",
	"swarm":      "hod runs containers on one machine",
	"service":    "hod runs containers on one machine",
	"stack":      "hod runs containers on one machine",
	"plugin":     "hod has no plugins",
	"checkpoint": "hod makes no checkpoints; --runtime crun or runc can",
}

// ungroup replaces the two words of a group and its verb by hod's own.
func ungroup(words []string) []string {
	if len(words) < 2 {
		return words
	}
	if verb, ok := grouped[words[0]][words[1]]; ok {
		return slices.Concat(verb, words[2:])
	}
	return words
}

// groupCommand tells of a group: its verbs, each of which ungroup replaces.
func groupCommand(name string) *cli.Command {
	c := &cli.Command{Name: name, Hidden: true, Usage: "The verbs of hod under Docker's names"}
	for _, word := range slices.Sorted(maps.Keys(grouped[name])) {
		if of := makeVerb(grouped[name][word][0]); of != nil {
			c.Subcommands = append(c.Subcommands, &cli.Command{Name: word, Usage: of.Usage})
		}
	}
	return c
}
