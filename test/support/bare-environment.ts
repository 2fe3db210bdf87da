/** What a process of the product is given of the test's own environment: nothing that it could be configured by, and what makes programs start sooner. */
export function bareEnvironment(): NodeJS.ProcessEnv {
  const { PATH, HOME, NODE_COMPILE_CACHE, JDK_JAVA_OPTIONS } = process.env;
  return { PATH, HOME, ...(NODE_COMPILE_CACHE !== undefined && { NODE_COMPILE_CACHE }), ...(JDK_JAVA_OPTIONS !== undefined && { JDK_JAVA_OPTIONS }) };
}
