# Counts the outcomes of the crash tests: kind, passed, failed. Exits 1 when one failed.
/^ *--- (PASS|FAIL|SKIP):/ {
	n = split($3, part, "/")
	if (part[1] == "TestCrashAtEveryCall" && n == 3) {
		split(part[3], at, "-")
		kind = part[2] (at[1] == 0 ? " killed" : " errno " at[1])
	} else if (part[1] == "TestCrashOfVerbs" && n == 3) {
		split(part[3], at, "-")
		kind = "hod " part[2] (at[1] == 0 ? " killed" : " errno " at[1])
	} else if (part[1] == "TestFullDisk" && n == 3) {
		kind = "full disk, " part[2]
	} else if (part[1] == "TestPowerLoss" && n == 2) {
		kind = "power cut after " part[2]
		sub(/_[0-9]+$/, "", kind)
	} else if (n > 1 || part[1] ~ /^Test(CrashAtEveryCall|CrashOfVerbs|PowerLoss|FullDisk)$/) {
		if ($2 == "FAIL:") failed = 1
		next
	} else kind = part[1]
	kinds[kind]; count[kind, $2]++
	if ($2 == "FAIL:") failed = 1
}
/operations, / { print }
/^(FAIL|panic)/ { failed = 1 }
END {
	printf "%-36s %6s %6s %7s\n", "fault", "passed", "failed", "skipped"
	for (k in kinds) printf "%-36s %6d %6d %7d\n", k, count[k, "PASS:"], count[k, "FAIL:"], count[k, "SKIP:"] | "sort"
	close("sort")
	exit failed
}
