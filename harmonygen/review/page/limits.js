// Thresholds: see below.
export const showLimits = async () => {};
