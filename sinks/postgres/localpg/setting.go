package localpg

import (
	"context"
	"maps"
	"slices"
)

// settings are the server's parameters. They are given on its command line at each start, so that a newer haloingest brings its own
// to an existing cluster.
func (o Options) settings(ctx context.Context, bin Binaries, cluster string, as account) []string {
	s := map[string]string{
		"listen_addresses":          "127.0.0.1",
		"unix_socket_permissions":   "0700",
		"max_connections":           "64",
		"shared_buffers":            "256MB",
		"effective_cache_size":      "1GB",
		"work_mem":                  "32MB",
		"maintenance_work_mem":      "256MB",
		"max_wal_size":              "2GB",
		"checkpoint_timeout":        "15min",
		"wal_level":                 "minimal", // nobody replicates it
		"max_wal_senders":           "0",
		"wal_compression":           "on",
		"random_page_cost":          "1.1",
		"jit":                       "off",
		"fsync":                     "on",
		"synchronous_commit":        "on",
		"log_checkpoints":           "off",
		"log_line_prefix":           "%m [%p] %d ",
		"log_timezone":              "GMT",
		"timezone":                  "GMT", // the one zone that PostgreSQL knows without the system's zone files
		"cluster_name":              "haloingest",
		"password_encryption":       "scram-sha-256",
		"min_dynamic_shared_memory": "64MB", // a container's /dev/shm is too small for parallel queries
		"log_parameter_max_length":  "0",    // customers' data stay out of the log
		"log_error_verbosity":       "terse",
		"log_min_error_statement":   "panic",
	}
	if o.Throwaway {
		maps.Copy(s, map[string]string{
			"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
			"max_connections": "300", "shared_buffers": "128MB", "min_dynamic_shared_memory": "0", "max_wal_size": "512MB",
			"checkpoint_timeout": "1h", "autovacuum_naptime": "5min",
		})
	}
	// What depends on how the server was built: the first value that it takes.
	for _, choice := range []struct{ name, value string }{
		{"default_toast_compression", "lz4"},
		{"wal_compression", "lz4"},
	} {
		if accepts(ctx, bin, cluster, as, choice.name+"="+choice.value) {
			s[choice.name] = choice.value
		}
	}
	maps.Copy(s, o.Settings)
	args := make([]string, 0, 2*len(s))
	for _, name := range slices.Sorted(maps.Keys(s)) {
		args = append(args, "-c", name+"="+s[name])
	}
	return args
}

// accepts asks the server program whether it takes a setting, without starting it.
func accepts(ctx context.Context, bin Binaries, cluster string, as account, setting string) bool {
	return as.command(ctx, "/", bin.Dir+"/postgres", "-D", cluster, "-c", setting, "-C", "data_directory").Run() == nil
}
