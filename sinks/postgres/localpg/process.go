package localpg

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// postmaster is what the server writes about itself into postmaster.pid, one item a line (src/include/utils/pidfile.h in
// PostgreSQL's source).
type postmaster struct {
	pid    int
	port   int
	socket string // folder of the Unix socket
	status string // "starting", "stopping", "ready", "standby", or "" before the first of them is written
}

// readPostmaster reads the pid file of the cluster. ok is false when there is none, which is so when no server has been started
// or the last one was stopped in order.
func readPostmaster(cluster string) (pm postmaster, ok bool, err error) {
	text, err := os.ReadFile(filepath.Join(cluster, "postmaster.pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return postmaster{}, false, nil
	}
	if err != nil {
		return postmaster{}, false, err
	}
	lines := strings.Split(string(text), "\n")
	item := func(i int) string {
		if i < len(lines) {
			return strings.TrimSpace(lines[i])
		}
		return ""
	}
	pm.pid, _ = strconv.Atoi(item(0))
	pm.port, _ = strconv.Atoi(item(3))
	pm.socket = item(4)
	pm.status = item(7)
	return pm, true, nil
}

// alive says whether the process runs. One that has ended but has not been reaped does not: a child of this process is reaped on
// the way, and one of a parent that does not care (some programs that are process 1 of a container) is seen by its state.
func alive(pid int) bool {
	if pid <= 0 {
		return false
	}
	if got, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); err == nil && got == pid {
		return false
	}
	if stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat")); err == nil {
		return !bytes.Contains(stat, []byte(") Z "))
	}
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// serves says whether the process is the PostgreSQL server of the cluster, and not some other program that got the number of a
// server that died without tidying up. Where the system does not tell, it says yes.
func serves(ctx context.Context, pid int, cluster string) bool {
	if !alive(pid) {
		return false
	}
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	if args, err := os.ReadFile(filepath.Join(proc, "cmdline")); err == nil {
		if !bytes.Contains(args, []byte("postgres")) {
			return false
		}
		there, err1 := os.Stat(filepath.Join(proc, "cwd"))
		here, err2 := os.Stat(cluster)
		return err1 != nil || err2 != nil || os.SameFile(there, here)
	}
	out, err := exec.CommandContext(ctx, "ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err != nil || bytes.Contains(out, []byte("postgres")) && bytes.Contains(out, []byte(cluster))
}

// disown makes the pid file that a server left behind name this process, as it may name one that is something else by now, or one
// that nobody reaps, or nothing at all, and PostgreSQL then refuses to start:
// PostgreSQL takes a pid file that names its parent for a leftover, and still checks by its other lines that no process uses the
// cluster's shared memory. Removing the file would take away that check.
func disown(cluster string, as account) error {
	path := filepath.Join(cluster, "postmaster.pid")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(string(text), "\n")
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"+rest), 0o600); err != nil {
		return err
	}
	return as.give(path)
}

// logTail returns the last lines that the server wrote after offset, as one line.
func logTail(path string, offset int64) string {
	text, err := os.ReadFile(path)
	if err != nil || int64(len(text)) < offset {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text[offset:])), "\n")
	if len(lines) > 6 {
		lines = lines[len(lines)-6:]
	}
	return strings.Join(lines, " | ")
}
