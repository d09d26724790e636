package parquet

import (
	"fmt"
	"strconv"
	"strings"

	"haloingest/pipeline/record"
)

// Tables of rows/ beside those of record.Kind.Table.
const (
	TableKnowledge  = "knowledge"
	TableTombstones = "tombstones"
	TableRejects    = "rejects"
)

// Folder is the folder of a layer's files of one run, with a slash at its end.
func Folder(layer string, org, run record.UUID) string {
	return fmt.Sprintf("%s/org=%s/run=%s/", layer, org, run)
}

// Name says what a file is part of. The attempt is in it so that a runner that lost its lease and wakes up later can never write
// over a file of the one that took over.
type Name struct {
	Layer    string
	Org, Run record.UUID
	Table    string
	Stream   string
	Seq      int64 // of the segment
	Attempt  int   // of the run
	// Encrypted files have a name that tools which look for Parquet files pass by.
	Encrypted bool
}

const (
	plainSuffix     = ".parquet"
	encryptedSuffix = ".parquet.enc"
)

func (n Name) suffix() string {
	if n.Encrypted {
		return encryptedSuffix
	}
	return plainSuffix
}

// Path is where the file lies.
func (n Name) Path() string {
	return fmt.Sprintf("%stable=%s/%s.%06d.%d%s", Folder(n.Layer, n.Org, n.Run), n.Table, n.Stream, n.Seq, n.Attempt, n.suffix())
}

// ParsePath reads what Path wrote; ok is false for any other text.
func ParsePath(path string) (n Name, ok bool) {
	part := strings.Split(path, "/")
	if len(part) != 5 {
		return n, false
	}
	n.Layer = part[0]
	org, found1 := strings.CutPrefix(part[1], "org=")
	run, found2 := strings.CutPrefix(part[2], "run=")
	table, found3 := strings.CutPrefix(part[3], "table=")
	base, encrypted := strings.CutSuffix(part[4], encryptedSuffix)
	base = strings.TrimSuffix(base, plainSuffix)
	file := strings.Split(base, ".")
	if !found1 || !found2 || !found3 || len(file) != 3 {
		return n, false
	}
	var err [4]error
	n.Org, err[0] = record.ParseUUID(org)
	n.Run, err[1] = record.ParseUUID(run)
	n.Table, n.Stream, n.Encrypted = table, file[0], encrypted
	n.Seq, err[2] = strconv.ParseInt(file[1], 10, 64)
	n.Attempt, err[3] = strconv.Atoi(file[2])
	for _, e := range err {
		if e != nil {
			return n, false
		}
	}
	return n, n.Path() == path
}

// ManifestFolder is the folder of an organisation's manifests, with a slash at its end.
func ManifestFolder(org record.UUID) string { return fmt.Sprintf("manifest/org=%s/", org) }

// ManifestPath is where the manifest of a run lies.
func ManifestPath(org, run record.UUID) string {
	return fmt.Sprintf("%srun=%s.json", ManifestFolder(org), run)
}
