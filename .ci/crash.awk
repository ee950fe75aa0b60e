# Counts the outcomes of the crash tests: of each part how many strikes passed, failed and were skipped, and how long they
# took together (parts that run side by side each count their own time). Exits 1 when one failed.
function note(kind, how, n, secs) {
	if (!(kind in known)) { known[kind] = 1; order[++kinds] = kind }
	count[kind, how] += n; count["total", how] += n
	time[kind] += secs; time["total"] += secs
}
function row(kind) {
	printf "%-36s %6d %6d %7d %8.0f\n", kind, count[kind, "PASS:"], count[kind, "FAIL:"], count[kind, "SKIP:"], time[kind]
}
/^ *--- (PASS|FAIL|SKIP):/ {
	n = split($3, part, "/")
	secs = substr($4, 2) + 0
	if ($2 == "FAIL:") failed = 1
	if (n == 3 && part[1] ~ /^TestCrash(AtEveryCall|OfVerbs)$/) {
		split(part[3], at, "-")
		fault = at[1] == 0 ? "killed" : at[1] == 5 ? "EIO" : at[1] == 28 ? "ENOSPC" : "errno " at[1]
		note((part[1] == "TestCrashOfVerbs" ? "hod " : "store: ") part[2] ", " fault, $2, 1, secs)
	} else if (n == 3 && part[1] == "TestFullDisk") {
		note("full disk: " part[2], $2, 1, secs)
	} else if (n == 2 && part[1] == "TestPowerLoss") {
		kind = part[2]
		sub(/_[0-9]+$/, "", kind); sub(/_/, ", ", kind)
		note("power cut: " kind, $2, 1, secs)
	} else if (n == 1 && part[1] ~ /^Test(Processes|Verbs)SideBySide$/) {
		side = part[1] == "TestVerbsSideBySide" ? "hod side by side: " : "store side by side: "
		if ($2 != "PASS:") operations = 0
		note(side "not killed", $2, $2 == "PASS:" ? operations - killed : 1, secs)
		note(side "killed at random", $2, $2 == "PASS:" ? killed : 0, 0)
	} else if (n == 1 && part[1] ~ /^Test(FewInodes|Bombs)$/) {
		note(part[1] == "TestBombs" ? "full disk: bombs" : "full disk: few inodes", $2, 1, secs)
	} else if (n == 1 && $2 == "SKIP:") note(part[1], $2, 1, secs)
}
/operations, [0-9]+ killed/ { for (i = 1; i < NF; i++) { if ($(i+1) ~ /^operations/) operations = $i; if ($(i+1) ~ /^killed/) killed = $i } }
/^(FAIL|panic|vet: |[a-z/]+[.]go:[0-9]+:[0-9]+: )/ { failed = 1; said[++lines] = $0 }
# What a failure says, behind the name of its test.
/^ +[a-z0-9_]+_test\.go:[0-9]+: / && !/seed|calls|it takes/ { said[++lines] = $0 }
END {
	printf "%-36s %6s %6s %7s %8s\n", "fault", "passed", "failed", "skipped", "seconds"
	for (i = 1; i <= kinds; i++) row(order[i])
	row("total")
	for (i = 1; failed && i <= lines && i <= 40; i++) print said[i]
	exit failed
}
