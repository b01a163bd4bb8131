//go:build tools

// Package tools pins the Temporal CLI, so that go.sum verifies what is built.
package tools

import _ "github.com/temporalio/cli/cmd/temporal"
