package localpg

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is who the server runs as. The zero value is the current user.
type account struct {
	name     string
	uid, gid int
	other    bool // not the current user: files are handed over and processes started under these ids
}

// serverAccount says who runs the server of a cluster: the current user, or, under root, the owner of the cluster if there is one,
// else the first of PostgreSQL's usual accounts that exists.
func serverAccount(cluster string) (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	if info, err := os.Stat(cluster); err == nil {
		st, ok := info.Sys().(*syscall.Stat_t)
		if ok && st.Uid != 0 {
			return account{name: "#" + strconv.Itoa(int(st.Uid)), uid: int(st.Uid), gid: int(st.Gid), other: true}, nil
		}
	}
	for _, name := range []string{"postgres", "_postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil || uid == 0 {
			continue
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			continue
		}
		return account{name: name, uid: int(uid), gid: int(gid), other: true}, nil
	}
	return account{}, fmt.Errorf("PostgreSQL refuses to run as root, and this machine has no account \"postgres\" or \"nobody\" to run it as: " +
		"run haloingest as an ordinary user or give --database-url")
}

// command prepares program to run as the account, in dir, cut off from the terminal's signals and from the environment of this
// process, which may hold secrets that another account must not see.
func (a account) command(ctx context.Context, dir, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = serverEnvironment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if a.other {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return cmd
}

// serverEnvironment is all that the server gets of the environment. LC_ALL is set because PostgreSQL refuses to start on macOS
// when it is not.
func serverEnvironment() []string {
	env := []string{"LC_ALL=C"}
	if path, ok := os.LookupEnv("PATH"); ok {
		env = append(env, "PATH="+path)
	}
	return env
}

// give hands path to the account.
func (a account) give(path string) error {
	if !a.other {
		return nil
	}
	return os.Chown(path, a.uid, a.gid)
}

// reaches says whether the account can make dir its working directory, by doing so: permission bits alone do not tell (access
// lists, security modules, network file systems). program is any harmless program that the account can run.
func (a account) reaches(ctx context.Context, dir, program string) bool {
	if !a.other {
		return true
	}
	return a.command(ctx, dir, program, "--version").Run() == nil
}

// giveToFolderOwner hands a file that root made to the owner of the folder it is in, so that root's visit does not lock out the
// user whose data directory this is.
func giveToFolderOwner(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Uid == 0 {
		return nil
	}
	return os.Lchown(path, int(st.Uid), int(st.Gid))
}
