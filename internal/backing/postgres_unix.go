//go:build unix && !linux

package backing

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// postgresAttributes runs the server as that user. Only Linux can also kill it when this process dies.
func postgresAttributes(as *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: as, Setpgid: true}
}

// postgresChildren lists the processes that the server has made.
func postgresChildren(server int) (pids []int, err error) {
	out, err := exec.Command("ps", "-A", "-o", "ppid=,pid=").Output()
	if err != nil {
		return nil, fmt.Errorf("backing: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) != 2 || fields[0] != strconv.Itoa(server) {
			continue
		}
		if pid, err := strconv.Atoi(fields[1]); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// postgresZombie is false: what has ended is reaped at once.
func postgresZombie(int) bool { return false }
