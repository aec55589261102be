package backing

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// postgresAttributes runs the server as that user and kills it when this process dies.
func postgresAttributes(as *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: as, Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// postgresChildren lists the processes that the server has made.
func postgresChildren(server int) (pids []int, err error) {
	folders, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("backing: %w", err)
	}
	for _, folder := range folders {
		pid, err := strconv.Atoi(folder.Name())
		if err != nil {
			continue
		}
		if _, parent := postgresStat(pid); parent == server {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// postgresZombie reports whether the process has ended and only waits for somebody to ask how.
func postgresZombie(pid int) bool {
	state, _ := postgresStat(pid)
	return state == "Z"
}

// postgresStat reads state and parent of a process, which follow its name in parentheses; see proc_pid_stat(5).
func postgresStat(pid int) (state string, parent int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 2 {
		return "", 0
	}
	parent, _ = strconv.Atoi(string(fields[1]))
	return string(fields[0]), parent
}
