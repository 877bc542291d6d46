module fastoci.test/buildkitcontext

go 1.22
