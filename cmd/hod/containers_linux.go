package main

// containerVerbs are the verbs of containers, in the order of the help page.
func containerVerbs() []verb {
	return append([]verb{
		{"run", runCommand}, {"create", createCommand}, {"start", startCommand}, {"restart", restartCommand},
		{"attach", attachCommand}, {"exec", execCommand}, {"cp", cpCommand}, {"diff", diffCommand}, {"commit", commitCommand}, {"ps", psCommand}, {"logs", logsCommand}, {"port", portCommand},
		{"stats", statsCommand}, {"top", topCommand}, {"events", eventsCommand}, {"volume", volumeCommand}, {"update", updateCommand}, {"__monitor", monitorCommand}, {"__container-prune", containerPruneCommand}, {"spec", specCommand}, {"runtime", runtimeCommand},
	}, among(lifeVerbs, "stop", "kill", "pause", "unpause", "wait", "rm", "rename")...)
}

// machineVerbs tell of the machine.
func machineVerbs() []verb { return []verb{{"info", infoCommand}} }
