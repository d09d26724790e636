// Package folder publishes the files of a report together: who looks into the folder finds the whole report or none of it,
// and can tell with sha256sum which.
package folder

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Sums is the name of the file that closes a report: the SHA-256 of each other file, as sha256sum writes and checks them.
// It is removed first and written last when a report takes the place of another, so a folder without it holds no whole report.
const Sums = "SHA256SUMS"

// Sum is a published file.
type Sum struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // hexadecimal
}

// Folder is a report that is being written. It is not safe for concurrent use. End it with Publish or Discard.
type Folder struct {
	dir, work string
	fresh     bool // dir is not there yet: work becomes dir
	files     []*File
}

// New begins a report in dir, which is made if it is missing. Nothing that is in dir is touched before Publish. Reports name
// people's objects, so what is made is readable by its owner alone.
func New(dir string) (*Folder, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("begin a report: %w", err)
	}
	f := &Folder{dir: dir}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.fresh = true
		err = os.MkdirAll(filepath.Dir(dir), 0o700)
	case err == nil && !info.IsDir():
		err = fmt.Errorf("%s is not a folder", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("begin a report: %w", err)
	}
	mark := strings.ToLower(rand.Text()[:10])
	f.work = filepath.Join(dir, ".unfinished-"+mark)
	if f.fresh {
		f.work = filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)+".unfinished-"+mark)
	}
	if err := os.Mkdir(f.work, 0o700); err != nil {
		return nil, fmt.Errorf("begin a report: %w", err)
	}
	return f, nil
}

// Dir is where the report will be, as an absolute path.
func (f *Folder) Dir() string { return f.dir }

// Create begins a file of the report.
func (f *Folder) Create(name string) (*File, error) {
	file, err := os.OpenFile(filepath.Join(f.work, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("begin a report: %w", err)
	}
	out := &File{name: name, file: file, hash: sha256.New()}
	out.buf = bufio.NewWriterSize(hashed{out}, 64<<10)
	f.files = append(f.files, out)
	return out, nil
}

// Publish makes all files durable and moves them into place. A folder that did not exist appears in one step; in one that does,
// the files of the same names are replaced, and Sums tells whether all of them were.
func (f *Folder) Publish() ([]Sum, error) {
	sums, err := f.publish()
	if err != nil {
		return nil, fmt.Errorf("publish the report in %s: %w", f.dir, errors.Join(err, f.Discard()))
	}
	return sums, nil
}

func (f *Folder) publish() ([]Sum, error) {
	var sums []Sum
	var text strings.Builder
	for _, file := range f.files {
		if err := file.close(); err != nil {
			return nil, err
		}
		sum := Sum{Name: file.name, Bytes: file.size, SHA256: hex.EncodeToString(file.hash.Sum(nil))}
		sums = append(sums, sum)
		fmt.Fprintf(&text, "%s  %s\n", sum.SHA256, sum.Name)
	}
	last, err := f.Create(Sums)
	if err != nil {
		return nil, err
	}
	if _, err := last.Write([]byte(text.String())); err != nil {
		return nil, err
	}
	if err := last.close(); err != nil {
		return nil, err
	}
	if err := syncDir(f.work); err != nil {
		return nil, err
	}
	if f.fresh {
		if err := os.Rename(f.work, f.dir); err == nil {
			return sums, syncDir(filepath.Dir(f.dir))
		}
		// Somebody has made the folder meanwhile.
		if err := os.MkdirAll(f.dir, 0o700); err != nil {
			return nil, err
		}
	}
	if err := os.Remove(filepath.Join(f.dir, Sums)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := syncDir(f.dir); err != nil {
		return nil, err
	}
	for _, file := range f.files {
		if file == last { // until all others are there, durably
			if err := syncDir(f.dir); err != nil {
				return nil, err
			}
		}
		if err := os.Rename(filepath.Join(f.work, file.name), filepath.Join(f.dir, file.name)); err != nil {
			return nil, err
		}
	}
	if err := syncDir(f.dir); err != nil {
		return nil, err
	}
	return sums, os.Remove(f.work)
}

// Discard removes what was written. It does nothing to a published report.
func (f *Folder) Discard() error {
	for _, file := range f.files {
		_ = file.file.Close() // what it held is thrown away
	}
	if err := os.RemoveAll(f.work); err != nil {
		return fmt.Errorf("discard the report: %w", err)
	}
	return nil
}

// File is a buffered file of a report.
type File struct {
	name string
	file *os.File
	buf  *bufio.Writer
	hash hash.Hash
	size int64
	done bool
}

// Write buffers. An error names the file.
func (f *File) Write(p []byte) (int, error) { return f.buf.Write(p) }

func (f *File) close() error {
	if f.done {
		return nil
	}
	f.done = true
	err := f.buf.Flush()
	if err == nil {
		err = f.file.Sync()
	}
	if cerr := f.file.Close(); err == nil {
		err = cerr
	}
	return err
}

type hashed struct{ *File }

func (h hashed) Write(p []byte) (int, error) {
	n, err := h.file.Write(p)
	h.hash.Write(p[:n])
	h.size += int64(n)
	return n, err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
